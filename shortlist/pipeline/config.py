"""The recipe: one strict TOML file that holds everything about a run. Unknown tables and options are errors that name the
choices, so that a typing mistake never silently becomes a default."""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shortlist.core.component import build, check, config, filled, param, parameters
from shortlist.core.errors import ConfigError, choices, unknown
from shortlist.data.timeline import Timeline
from shortlist.pipeline.limits import Limit, Serve, declared, limit, of
from shortlist.pipeline.quota import Quota, checked

TABLES = ("data", "timeline", "state", "train", "pipeline", "evaluate", "serve")
STAGES = {"source": "retrieve", "filter": "order", "feature": "feature", "ranker": "rank", "rule": "order"}


@dataclass
class Data:
    """What the events mean. The `[data]` table."""

    positive: list[str] = param(
        [], "event kinds that are a success: targets, and what sources learn from; all but impressions when empty"
    )
    context: list[str] = param(
        [], "event columns that are known when a request is made; only these may become features"
    )
    categories: list[str] = param([], "columns to read as categories, against the typing rule")
    numbers: list[str] = param([], "columns to read as numbers, against the typing rule")
    impression: str = param("impression", "the event kind that says that an item was shown")
    within: str = param(
        "1d", "how long after an impression an event without its request id may still answer it", duration=True
    )
    options: dict[str, Any] = param({}, "options of the data set's loader")


@dataclass
class Memory:
    """What the state keeps besides the aggregates that parts ask for. The `[state]` table."""

    history: int = param(512, "newest events kept per user", low=1, high=1_000_000)
    events: list[str] = param([], "event kinds that enter the history; all but impressions when empty")
    keys: int = param(1 << 20, "values kept per key of several columns; of more, the coldest go", low=16)
    memory: float = param(
        8.0, "gigabytes that the aggregates may come to need; more is refused before the run", low=0.001
    )
    freeze: bool = param(
        False,
        "requests of their own time see the state as of their window's start, in training and test alike: what live state is worth",
    )
    refresh: str = param(
        "",
        'with freeze: how often the state catches up within a window, counted from its start; "" = never',
        duration=True,
    )


@dataclass
class Train:
    """How the ranker's training rows are drawn. The `[train]` table."""

    requests: int = param(10_000, "requests per label window, at most", low=1)
    validate: int = param(
        4_000, "requests of the newest label window that are ranked over the full pool, at most", low=1
    )
    warm: bool = param(False, "only requests of users with a history; for test windows that hardly have others")
    negatives: int = param(100, "rows without a label kept per request; 0 = the whole pool", low=0)
    group: str = param(
        "request",
        "what a listwise loss and NDCG compare: rows of one request, or of one user within a label window",
        options=("request", "user"),
    )
    hard: float = param(
        0.0, "share of the kept negatives that are the best-ranked ones instead of random", low=0.0, high=1.0
    )
    grades: dict[str, float] = param({}, "relevance of event kinds, where it is not 1")
    drift: float = param(
        0.0,
        "leave out columns whose population stability index between label windows is above this; 0 = none; 0.25 is the usual line",
        low=0.0,
    )
    refit: bool = param(True, "fit the ranker again on all windows after the newest has chosen its length")


@dataclass
class Funnel:
    """The pipeline between its parts. The `[pipeline]` table."""

    candidates: str = param(
        "sources",
        "what is ranked: what the sources find, or what was shown (then requests are groups of impressions, each at its own time)",
        options=("sources", "impressions"),
    )
    pool: int = param(500, "candidates per request after the merge, at most", low=1)
    merge: str = param(
        "interleave",
        "which of the sources' items make the pool: in turns by rank; or those with the best chance, as each source's places are worth, "
        "or as a regression on all places and scores says",
        options=("interleave", "calibrated", "learned"),
    )
    segments: list[int] = param(
        [1, 20], "events in a user's history from which he is light, and heavy; below the first: cold"
    )
    k: int = param(10, "items in an answer unless the request says otherwise", low=1)
    chunk: int = param(256, "requests handled at a time; bounds memory, never changes a result", low=1)
    guard: str = param(
        "warn", "when stage two does not beat the best source on validation", options=("warn", "fallback")
    )


@dataclass
class Evaluate:
    """What a backtest measures. The `[evaluate]` table."""

    users: int = param(20_000, "users with an answer in the test window, at most; 0 = all", low=0)
    k: list[int] = param([10], "cut-offs of the metrics; the funnel is told at the first")
    seed: int = param(0, "draws the users, and the event of each where every request has its own time")
    resamples: int = param(1000, "bootstrap resamples over users", low=10)


@dataclass
class Recipe:
    """A whole run: what is known about the data, how time is cut, and the parts in order."""

    title: str = ""
    seed: int = 0
    data: Data = field(default_factory=Data)
    timeline: Timeline = field(default_factory=Timeline)
    state: Memory = field(default_factory=Memory)
    train: Train = field(default_factory=Train)
    pipeline: Funnel = field(default_factory=Funnel)
    evaluate: Evaluate = field(default_factory=Evaluate)
    serve: Serve = field(default_factory=Serve)
    sources: dict[str, Any] = field(default_factory=dict)
    quotas: dict[str, Quota] = field(default_factory=dict)
    filters: dict[str, Any] = field(default_factory=dict)
    features: dict[str, Any] = field(default_factory=dict)
    rankers: dict[str, Any] = field(default_factory=dict)
    keeps: dict[str, int] = field(default_factory=dict)
    rules: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, Limit] = field(default_factory=dict)  # by place: `source.ease`

    def resolved(self) -> dict[str, Any]:
        """Everything, defaults written out: parses back to an equal recipe."""
        entry: dict[str, Any] = {"title": self.title, "seed": self.seed}
        for name in TABLES:
            part = getattr(self, name)
            entry[name] = {option.name: getattr(part, option.name) for option in parameters(part)}
        for stage in STAGES:
            entry[stage] = []
            for name, part in getattr(self, f"{stage}s").items():
                allowed = of(self.limits, f"{stage}.{name}")
                own: dict[str, Any] = {"name": name, "budget_ms": allowed.budget_ms, "on_error": allowed.on_error}
                if stage == "source":
                    own["quota"] = self.quotas[name]
                if stage == "ranker":
                    own["keep"] = self.keeps[name]
                entry[stage].append({**own, **config(part)})
        return entry


def read(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe from a TOML file. overrides: `key.path=value` with a TOML value, such as `timeline.cutoffs=2` or
    `source.ease.reg=300` (parts are found by their name)."""
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such recipe") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path.name}: not valid TOML: {error}") from None
    for override in overrides:
        _override(tree, override)
    return parse(tree, path.name)


def parse(tree: Mapping[str, Any], place: str = "recipe") -> Recipe:
    """A recipe from a parsed TOML tree. place: its file name, for messages."""
    recipe = Recipe()
    tables = {name: type(getattr(recipe, name)) for name in TABLES}
    known = ["title", "seed", *tables, *STAGES]
    for key in tree:
        if key not in known:
            raise ConfigError(f"{place}: {unknown('table', key, known, 'tables')}")
    recipe.title = check(tree.get("title", ""), str, {}, f"{place}: title")
    recipe.seed = check(tree.get("seed", 0), int, {}, f"{place}: seed")
    for name, cls in tables.items():
        setattr(recipe, name, _table(cls, tree.get(name, {}), f"{place}: {name}"))
    if min(recipe.evaluate.k, default=0) < 1:
        raise ConfigError(f"{place}: evaluate.k: {recipe.evaluate.k!r}: name one cut-off or more, each at least 1")
    edges = recipe.pipeline.segments
    if len(edges) != 2 or not 0 < edges[0] < edges[1]:
        raise ConfigError(f"{place}: pipeline.segments: {edges!r}: give two rising numbers of events, such as [1, 20]")
    for stage, kind in STAGES.items():
        entries = tree.get(stage, [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ConfigError(f"{place}: {stage} must be written as [[{stage}]] entries")
        parts = getattr(recipe, f"{stage}s")
        for i, entry in enumerate(entries):
            where = f"{place}: {stage}[{i}]"
            spec = {key: _plain(value) for key, value in entry.items()}
            name = str(spec.pop("name", str(spec.get("type", "")).rpartition(".")[2]))
            if name in parts:
                raise ConfigError(
                    f"{where}: a second {stage} is called {name!r}; give it a name of its own (name = ...)"
                )
            if stage == "source":
                recipe.quotas[name] = checked(spec.pop("quota", 100), f"{where}.quota")
            if stage == "ranker":
                recipe.keeps[name] = check(spec.pop("keep", 0), int, {"low": 0}, f"{where}.keep")
            budget, on_error = limit(spec, stage, where)
            parts[name] = build(kind, spec, where)
            recipe.limits[f"{stage}.{name}"] = Limit(budget, on_error or declared(parts[name], stage))
            _stands(parts[name], stage, where)
            if stage == "rule":
                _still_true(recipe.rules, where)
    if recipe.pipeline.candidates == "impressions":
        _given(recipe, place)
    elif not recipe.sources:
        raise ConfigError(f"{place}: no [[source]]: a pipeline needs at least one")
    return recipe


def _given(recipe: Recipe, place: str) -> None:
    """Refuse what has no meaning where all that was shown is ranked, and nothing else."""
    why = "where pipeline.candidates = 'impressions': all that was shown is ranked, and nothing else"
    for name, parts in (("filter", recipe.filters), ("rule", recipe.rules)):
        if parts:
            raise ConfigError(f"{place}: {name}: no [[{name}]] can be used {why}")
    for name, keep in recipe.keeps.items():
        if keep:
            raise ConfigError(f"{place}: ranker.{name}.keep: {keep}: no ranker may leave out rows {why}")
    if not (recipe.sources or recipe.rankers):
        raise ConfigError(f"{place}: no [[ranker]] and no [[source]]: nothing gives the impressions a score")
    if recipe.pipeline.guard == "fallback":
        raise ConfigError(f"{place}: pipeline.guard: 'fallback' needs candidates that sources found; choices: warn")
    if recipe.pipeline.merge != "interleave":
        raise ConfigError(f"{place}: pipeline.merge: {recipe.pipeline.merge!r}: nothing is merged {why}")
    if recipe.timeline.split == "last":
        raise ConfigError(
            f"{place}: timeline.split: 'last' has no window, which pipeline.candidates = 'impressions' needs"
        )
    if recipe.train.hard > 0:
        raise ConfigError(
            f"{place}: train.hard: {recipe.train.hard}: impressions are not ranked by sources: no negative is hard"
        )


def _stands(part: Any, stage: str, where: str) -> None:
    """Filters and rules share a folder: say so when one is written as the other."""
    needed = {"source": "retrieve", "filter": "keep", "feature": "compute", "ranker": "score", "rule": "rows"}[stage]
    if not hasattr(part, needed) and not (stage == "feature" and hasattr(part, "choose")):
        raise ConfigError(f"{where}: {type(part).__name__} is not a {stage}: it has no method {needed!r}")


def _still_true(rules: Mapping[str, Any], where: str) -> None:
    """Refuse the newest rule if it would reorder what a rule before it has drawn: the propensities would be those of another list."""
    *before, last = rules
    for name in before:
        if hasattr(rules[name], "drawn") and not getattr(rules[last], "only_cuts", False):
            raise ConfigError(
                f"{where}: {last} after {name}, whose propensities it would make wrong; put it before, behind may stand only a cut such as top"
            )


def _table(cls: type[Any], given: Any, where: str) -> Any:
    """One of the fixed tables, checked like a part."""
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where} must be a table, got {type(given).__name__}")
    return filled(cls, {key: _plain(value) for key, value in given.items()}, where)


def _plain(value: Any) -> Any:
    """TOML dates and times as ISO text, all else as it is."""
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else value


def _override(tree: dict[str, Any], text: str) -> None:
    """Set one value in a parsed recipe: `timeline.cutoffs=2`, `source.ease.reg=300`."""
    path, found, raw = text.partition("=")
    if not found:
        raise ConfigError(f"--set {text!r}: write key.path=value, for example timeline.cutoffs=2")
    try:
        value = tomllib.loads(f"x = {raw}")["x"]
    except tomllib.TOMLDecodeError:
        value = raw.strip()
    *parents, last = path.strip().split(".")
    node: Any = tree
    for i, key in enumerate(parents):
        if isinstance(node, list):
            by_name = {str(entry.get("name", entry.get("type"))): entry for entry in node}
            if key not in by_name:
                raise ConfigError(f"--set {text!r}: no {parents[i - 1]} is called {key!r}; choices: {choices(by_name)}")
            node = by_name[key]
        else:
            node = node.setdefault(key, [] if key in STAGES else {})
        if not isinstance(node, dict | list):
            raise ConfigError(f"--set {text!r}: {key!r} is a value, not a table")
    if not isinstance(node, dict):
        raise ConfigError(
            f"--set {text!r}: name the {parents[-1]} as well; choices: {choices(e.get('name', e.get('type')) for e in node)}"
        )
    node[last] = value
