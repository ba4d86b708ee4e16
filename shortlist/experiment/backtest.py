"""Backtest: fit as of the past, answer the test window's requests, and measure the pipeline and every source by one protocol."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from shortlist.core import rows
from shortlist.core.batch import Array, Batch, concat
from shortlist.core.contracts import silent
from shortlist.core.errors import ConfigError
from shortlist.core.files import whole_folder
from shortlist.core.units import iso, moment
from shortlist.core.units import seconds as length_of
from shortlist.data.dataset import Dataset
from shortlist.data.timeline import Requests, Split
from shortlist.experiment import exposures, given, report
from shortlist.experiment.examples import examples
from shortlist.experiment.exposures import OVERALL, RATE, Scored
from shortlist.experiment.fit import Fitted, fit, labelled, positive_kinds
from shortlist.experiment.funnel import Funnel
from shortlist.experiment.replay import batches
from shortlist.metric import beyond
from shortlist.metric.interval import entry, paired, summary
from shortlist.metric.ranking import ranking
from shortlist.pipeline.answer import table
from shortlist.pipeline.config import Recipe, parse
from shortlist.pipeline.trace import Trace


@dataclass
class Lists:
    """What one system showed: ragged item lists over all requests, best first, collected chunk by chunk."""

    counts: list[Array] = field(default_factory=list)
    items: list[Array] = field(default_factory=list)

    def add(self, batch: Batch, k: int) -> None:
        """The first k rows of every request."""
        first = batch.take(np.flatnonzero(rows.run_place(batch.offsets) < k)) if batch.m else batch
        self.counts.append(np.diff(first.offsets))
        self.items.append(first.item)

    def ragged(self) -> tuple[Array, Array]:
        """offsets (n + 1,), item codes."""
        return rows.offsets_of(np.concatenate(self.counts)), np.concatenate(self.items)


@dataclass
class Window:
    """One test window's requests and what every system showed for them."""

    split: Split
    requests: Requests
    systems: dict[str, Lists]
    funnel: Funnel
    warm: Array
    popularity: Array
    known: int
    answers: pl.DataFrame
    fitted: Fitted
    stages: dict[str, float]  # seconds per stage while answering
    seconds: dict[str, float] = field(default_factory=dict)  # fit and recommend
    scored: Scored | None = None  # every exposure, where impressions are given


def backtest(
    recipe: Recipe,
    data: Dataset,
    out: Path,
    progress: Callable[..., Iterable[Any]] = silent,
    command: str = "",
    look: Callable[[Fitted], None] | None = None,
) -> dict[str, Any]:
    """Run a recipe over its test windows and write the run folder whole: metrics.json, funnel.json, details.json, recipe.json,
    recommendations.parquet, requests.parquet, report.html. Returns what metrics.json holds. look: is handed what was fitted for the
    last window, for instance to write its training frame."""
    started = time.perf_counter()
    with whole_folder(out, "metrics.json") as folder:
        windows = []
        splits_of_windows = recipe.timeline.splits(data)
        for splits in splits_of_windows:
            windows.append(_window(recipe, data, splits, progress))
            recipe = _fresh(recipe)
        if look is not None:
            look(windows[-1].fitted)
        measured = (
            Measured.given(windows, data, recipe) if given.is_given(recipe) else Measured.of(windows, data, recipe)
        )
        seconds = {
            "fit": sum(w.seconds["fit"] for w in windows),
            "recommend": sum(w.seconds["recommend"] for w in windows),
        }
        metrics = {
            "data": data.fingerprint,
            "name": data.name,
            "title": recipe.title,
            "timeline": _timeline(recipe, splits_of_windows, data),
            "requests": measured.count,
            "systems": measured.systems,
            "paired": measured.paired,
            "seconds": {**seconds, "total": time.perf_counter() - started},
            "peak_rss_mb": _peak(),
            "command": command,
        }
        funnel = _funnel(windows)
        _write(folder / "metrics.json", metrics)
        _write(folder / "funnel.json", funnel)
        _write(folder / "recipe.json", windows[-1].fitted.recipe.resolved())
        _write(folder / "details.json", _details(windows, measured, data))
        pl.concat([window.answers for window in windows]).write_parquet(folder / "recommendations.parquet")
        measured.table.write_parquet(folder / "requests.parquet")
        report.write(folder)
    return metrics


def _fresh(recipe: Recipe) -> Recipe:
    """The recipe with parts that have learned nothing: the next window must not inherit anything."""
    return parse(recipe.resolved())


def _window(recipe: Recipe, data: Dataset, splits: list[Split], progress: Callable[..., Iterable[Any]]) -> Window:
    """Fit as of one test window's start and answer its requests."""
    started = time.perf_counter()
    test = splits[-1]
    kinds = data.catalogue.kind_codes(positive_kinds(recipe, data))
    most, seed = recipe.evaluate.users, recipe.evaluate.seed
    if given.is_given(recipe):
        requests = given.requests(recipe, data, test, kinds, users=most, seed=seed)
    else:
        requests = recipe.timeline.requests(data, test, kinds, most=most, seed=seed)
    if not len(requests):
        what = f"event of kind {recipe.data.impression!r}" if given.is_given(recipe) else "positive event"
        raise ConfigError(f"timeline.test: no {what} at or after {iso(test.cut)}: nothing to measure")
    fitted = fit(recipe, data, progress, splits)
    fit_seconds = time.perf_counter() - started
    started = time.perf_counter()
    window = (_ranked if given.is_given(recipe) else _answered)(fitted, requests, test, progress)
    window.seconds = {"fit": fit_seconds, "recommend": time.perf_counter() - started}
    return window


def _answered(fitted: Fitted, requests: Requests, split: Split, progress: Callable[..., Iterable[Any]]) -> Window:
    """Every request through the pipeline, in log order, the state as of each."""
    recipe, data, pipeline, replay = fitted.recipe, fitted.data, fitted.pipeline, fitted.replay
    most = max([*recipe.evaluate.k, recipe.pipeline.k])
    names = list(pipeline.sources)
    systems = {name: Lists() for name in ("pipeline", *(f"source:{source}" for source in names))}
    funnel = Funnel(names, recipe.evaluate.k[0])
    seconds: dict[str, float] = {}
    warm, answers = [], []
    training = recipe.timeline.training(data, split)
    for first, last, batch in batches(
        replay, requests, data, recipe.data.context, recipe.pipeline.chunk, progress, f"test {iso(split.cut)}",
        recipe.state.freeze, recipe.state.refresh,
    ):  # fmt: skip
        trace = Trace(seconds=seconds, whole=False)
        answer = pipeline.recommend(batch, replay.state, most, trace)
        systems["pipeline"].add(answer, most)
        assert trace.pool is not None
        assert trace.dropped is not None
        kept = trace.pool if (trace.dropped < 0).all() else trace.pool.keep(trace.dropped < 0)
        if trace.union is not None:  # a fitted merge cuts some of what a source would have shown by itself
            kept = trace.union.keep(pipeline.allowed(trace.union, replay.state))
        for name in names:
            systems[f"source:{name}"].add(own_order(kept, name), most)
        funnel.add(batch, trace, requests, first, last, pipeline, replay.state)
        warm.append(np.diff(replay.state.history(batch.user, 1).offsets) > 0)
        shown = answer.take(np.flatnonzero(rows.run_place(answer.offsets) < recipe.pipeline.k))
        answers.append(answered(shown, data, names, split))
    known = np.bincount(training.item, minlength=len(data.catalogue.items))
    return Window(
        split, requests, systems, funnel, np.concatenate(warm), known, int((known > 0).sum()), pl.concat(answers), fitted,
        seconds,
    )  # fmt: skip


def _ranked(fitted: Fitted, requests: Requests, split: Split, progress: Callable[..., Iterable[Any]]) -> Window:
    """Every exposure scored, with the state as of its own position; and the two baselines."""
    recipe, data, pipeline = fitted.recipe, fitted.data, fitted.pipeline
    trace = Trace(whole=False)
    parts = []
    for first, last, batch in given.featured(
        pipeline, fitted.replay, requests, data, recipe, progress, f"test {iso(split.cut)}", trace
    ):
        with trace.timed("rank"):
            score = pipeline.score(batch)
        names = ("item", "position", *(f"score_{name}" for name in pipeline.sources))
        kept = {name: batch.cand[name] for name in names if name in batch.cand}
        window = np.full(batch.n, split.cut, dtype=np.int64)
        kept |= {"label": labelled(batch, requests, first, last), "score": score}
        parts.append(Batch({**batch.req, "window": window}, batch.offsets, kept))
    batch = concat(parts)
    kinds = data.catalogue.kind_codes(positive_kinds(recipe, data))
    rate = given.item_rates(recipe, data, kinds, batch)
    overall = np.full(batch.m, given.overall_rate(recipe, data, kinds, split))
    sources = {f"source:{name}": batch.cand[f"score_{name}"] for name in pipeline.sources}
    scored = Scored(
        batch,
        {"pipeline": batch.cand["score"], **sources, RATE: rate, OVERALL: overall},
        {RATE: rate, OVERALL: overall},
    )
    if fitted.scale is not None:
        scored.chances = {"pipeline": fitted.scale.probability(batch.cand["score"]), **scored.chances}
    ordered = batch.with_columns({"probability": scored.chances["pipeline"]} if fitted.scale is not None else {})
    ordered = ordered.take(rows.order(batch, batch.cand["score"]))
    funnel = Funnel([], recipe.evaluate.k[0])
    funnel.add_given(ordered)
    answers = answered(ordered, data, [], split).with_columns(label=pl.Series(ordered.cand["label"]))
    if fitted.scale is not None:
        answers = answers.with_columns(probability=pl.Series(ordered.cand["probability"].astype(np.float32)))
    nothing = np.zeros(0)
    return Window(
        split, requests, {}, funnel, batch.req["warm"], nothing, 0, answers, fitted, trace.seconds, scored=scored
    )


def own_order(pool: Batch, name: str) -> Batch:
    """A source's own hits in its own order, after the filters."""
    rank = pool.cand[f"rank_{name}"]
    hits = np.flatnonzero(np.isfinite(rank))
    if not len(hits):
        return pool.take(hits)
    order = np.argsort((pool.owner[hits] << 32) | rank[hits].astype(np.int64))
    return Batch(pool.req, pool.offsets, {"item": pool.item, "rank": rank}).take(hits[order])


def answered(answer: Batch, data: Dataset, names: list[str], split: Split) -> pl.DataFrame:
    """Answers as a table, with the time of the request and the cut of its test window."""
    shown = table(answer, data.catalogue.users.ids.names(answer.user), data.catalogue.items.ids, names)
    window = np.full(answer.m, split.cut, dtype=np.int64)
    return shown.with_columns(time=pl.Series(answer.spread(answer.time)), window=pl.Series(window))


@dataclass
class Measured:
    """Figures over all test windows: intervals over users, who may have a request in several windows."""

    count: int
    systems: dict[str, Any]
    paired: dict[str, Any]
    table: pl.DataFrame
    windows: list[dict[str, Any]]

    @classmethod
    def of(cls, windows: list[Window], data: Dataset, recipe: Recipe) -> Measured:
        """Per-request values first, then means, intervals, slices and paired differences."""
        names = list(windows[0].systems)
        values: dict[str, dict[str, Array]] = {name: {} for name in names}
        for name in names:
            parts = [_values(window, name, recipe.evaluate.k) for window in windows]
            values[name] = {metric: np.concatenate([part[metric] for part in parts]) for metric in parts[0]}
        users = np.concatenate([window.requests.user for window in windows])
        warm = np.concatenate([window.warm for window in windows])
        times: dict[str, Any] = {"resamples": recipe.evaluate.resamples, "seed": recipe.seed}
        systems = {}
        for name in names:
            systems[name] = {
                **summary(values[name], users, **times),
                **_whole(windows, name, recipe.evaluate.k),
                "slices": {
                    label: {
                        **summary({m: v[part] for m, v in values[name].items()}, users[part], **times),
                        "requests": int(part.sum()),
                    }
                    for label, part in (("warm", warm), ("cold", ~warm))
                    if part.any()
                },
            }
        differences = {}
        for name in names[1:]:
            columns = list(values[name])
            ours = np.stack([values["pipeline"][metric] for metric in columns], axis=1)
            theirs = np.stack([values[name][metric] for metric in columns], axis=1)
            low, high = paired(ours, theirs, users, **times)
            mean = _mean(ours - theirs)
            differences[f"pipeline - {name}"] = {
                metric: entry(mean[j], low[j], high[j]) for j, metric in enumerate(columns)
            }
        table = pl.DataFrame(
            {
                "window": np.concatenate([np.full(len(w.requests), w.split.cut, dtype=np.int64) for w in windows]),
                "user_id": data.catalogue.users.ids.names(users),
                "time": np.concatenate([window.requests.time for window in windows]),
                "slice": np.where(warm, "warm", "cold"),
                "targets": np.concatenate([np.diff(window.requests.offsets) for window in windows]).astype(np.int32),
                **{
                    f"{name}/{metric}": column.astype(np.float32)
                    for name in names
                    for metric, column in values[name].items()
                },
            }
        )
        return cls(len(users), systems, differences, table, _by_window(windows, values, names, users, times))

    @classmethod
    def given(cls, windows: list[Window], data: Dataset, recipe: Recipe) -> Measured:
        """The same where impressions are given: figures over all exposures of all windows."""
        every = _joined(windows)
        ks, resamples, seed = recipe.evaluate.k, recipe.evaluate.resamples, recipe.seed
        systems, differences = exposures.measured(every, ks, resamples, seed)
        batch = every.batch
        columns = {
            f"{name}/{metric}": column.astype(np.float32)
            for name in every.scores
            for metric, column in exposures.table_columns(every, name, ks).items()
        }
        table = pl.DataFrame(
            {
                "window": batch.req["window"],
                "user_id": data.catalogue.users.ids.names(batch.user),
                "time": batch.time,
                "slice": np.where(batch.req["warm"], "warm", "cold"),
                "targets": np.bincount(batch.owner[every.label > 0], minlength=batch.n).astype(np.int32),
                **columns,
            }
        )
        parts = []
        for window in windows if len(windows) > 1 else ():
            assert window.scored is not None
            own = exposures.measured(window.scored, ks, resamples, seed)[0] if window.scored.both() else {}
            parts.append({"from": iso(window.split.cut), "requests": len(window.requests), "systems": own})
        if len(windows) == 1:
            parts = [{"from": iso(windows[0].split.cut), "requests": batch.n, "systems": systems}]
        return cls(batch.n, systems, differences, table, parts)


def _joined(windows: list[Window]) -> Scored:
    """The exposures of all windows. Probabilities only of systems that have them in every one."""
    parts = [window.scored for window in windows if window.scored is not None]
    if len(parts) == 1:
        return parts[0]
    common = [name for name in parts[0].chances if all(name in part.chances for part in parts)]
    return Scored(
        concat([part.batch for part in parts]),
        {name: np.concatenate([part.scores[name] for part in parts]) for name in parts[0].scores},
        {name: np.concatenate([part.chances[name] for part in parts]) for name in common},
    )


def _mean(values: Array) -> Array:
    """(columns,) means of (requests, columns) without NaN; NaN where there is nothing else."""
    there = np.isfinite(values)
    count = there.sum(axis=0)
    return np.where(count > 0, np.where(there, values, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)


def _values(window: Window, name: str, ks: list[int]) -> dict[str, Array]:
    """Every per-request metric of one system in one window."""
    offsets, items = window.systems[name].ragged()
    columns: dict[str, Array] = {}
    for k in ks:
        made = ranking(offsets, items, window.requests.offsets, window.requests.items, k)
        columns |= {f"{metric}@{k}": column for metric, column in made.items()}
        columns[f"novelty@{k}"] = beyond.novelty(offsets, items, k, window.popularity)
    return {
        **columns,
        "precision@1": ranking(offsets, items, window.requests.offsets, window.requests.items, 1)["precision"],
    }


def _whole(windows: list[Window], name: str, ks: list[int]) -> dict[str, Any]:
    """Figures of all lists together, which have no interval over users: the mean of the windows."""
    made: dict[str, Any] = {}
    for k in ks:
        parts = []
        for window in windows:
            offsets, items = window.systems[name].ragged()
            known = max(window.known, len(np.unique(items)))
            parts.append((beyond.coverage(offsets, items, k, known), beyond.gini(offsets, items, k, known)))
        means = np.array(parts).mean(axis=0)
        nothing = float("nan")
        made[f"coverage@{k}"] = entry(means[0], nothing, nothing)
        made[f"gini@{k}"] = entry(means[1], nothing, nothing)
    return made


def _by_window(
    windows: list[Window], values: dict[str, dict[str, Array]], names: list[str], users: Array, times: dict[str, int]
) -> list[dict[str, Any]]:
    """Each window's own figures: one day is one draw."""
    made = []
    start = 0
    for window in windows:
        part = slice(start, start + len(window.requests))
        start = part.stop
        systems = {name: summary({m: v[part] for m, v in values[name].items()}, users[part], **times) for name in names}
        made.append({"from": iso(window.split.cut), "requests": len(window.requests), "systems": systems})
    return made


def _timeline(recipe: Recipe, splits: list[list[Split]], data: Dataset) -> dict[str, Any]:
    log = data.log
    about = {
        "split": recipe.timeline.split,
        "leaks_across_users": recipe.timeline.split == "last",
        "labels": "next" if given.is_given(recipe) else recipe.timeline.labels,
        "train_from": recipe.timeline.train_from or iso(int(log.time[0])),
    }
    if recipe.timeline.split == "last":  # no cut-off is everybody's: from the first answer to the last
        answers = [log.time[split.answers] for split in splits[-1] if split.answers is not None and len(split.answers)]
        return {**about, "cutoffs": [], "test": [[iso(int(answers[-1].min())), iso(int(answers[-1].max()) + 1)]]}
    # A window ends where the next one begins; with a gap, its prediction time lies that much earlier.
    gap = int(length_of(recipe.timeline.gap))
    last = moment(recipe.timeline.until) if recipe.timeline.until else int(log.time[-1]) + 1
    end = [iso(at) for at in (*(s[-1].cut + gap for s in splits[1:]), last)]
    return {
        **about,
        "cutoffs": [iso(split.cut) for split in splits[-1][:-1]],
        "test": [[iso(s[-1].cut), until] for s, until in zip(splits, end, strict=True)],
    }


def _funnel(windows: list[Window]) -> dict[str, Any]:
    """The funnel over all windows, with the newest window's guard."""
    joined = Funnel(windows[0].funnel.names, windows[0].funnel.k, given=windows[0].funnel.given)
    seconds: dict[str, float] = {}
    for window in windows:
        for name, parts in window.funnel.columns.items():
            joined.columns.setdefault(name, []).extend(parts)
        joined.pool_rows += window.funnel.pool_rows
        joined.requests += window.funnel.requests
    for window in windows:
        for name, spent in window.stages.items():
            seconds[name] = seconds.get(name, 0.0) + spent
    made = joined.result(seconds)
    made["ms_per_request"] = {
        name: round(1000 * spent / max(joined.requests, 1), 4) for name, spent in sorted(seconds.items())
    }
    guard = windows[-1].fitted.guard
    if guard is not None:
        made["guard"] = guard.json()
    return made


def _details(windows: list[Window], measured: Measured, data: Dataset) -> dict[str, Any]:
    last = windows[-1].fitted
    notes = list(dict.fromkeys(note for window in windows for note in window.fitted.notes))
    if last.recipe.timeline.split == "last":
        notes.insert(
            0, "Leave-one-out leaks across users (others' later events are known): for comparison with papers only."
        )
    shown = {} if windows[0].scored is None else {"reliability": exposures.diagram(_joined(windows))}
    return {
        "importance": last.importance,
        "learning": last.curves,
        **shown,
        "windows": measured.windows,
        "notes": [*notes, *data.notes],
        "examples": examples(windows[-1].answers, last),
    }


def _peak() -> float:
    """Peak resident memory of this process in MB (ru_maxrss is in kB on Linux, in bytes on macOS)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024 * 1024 if sys.platform == "darwin" else 1024), 1)


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
