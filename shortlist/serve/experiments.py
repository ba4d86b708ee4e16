"""Experiments: who gets which variant, what that means for a request, and what came of it.

Layers (Tang, Agarwal, O'Brien, Meyer, Overlapping experiment infrastructure, KDD 2010): every layer hashes users anew, so that experiments of different layers
cross each other evenly; within a layer a user is in one experiment at most. The hash decides, nothing is stored: a user stays
where he is, on every worker, as long as the experiment's file says the same.

    [[experiment]]
    name = "ranker"
    layer = "ranking"
    share = 0.2                # of the layer's users; experiments of one layer take theirs one behind another
    [[experiment.variant]]
    name = "control"
    [[experiment.variant]]
    name = "deeper"
    weight = 1.0
    surface = "deeper"         # who answers; the request's own where it says nothing
    interleave = false         # true: its list and the request's own surface's, drafted into one
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from shortlist.core.component import filled, param
from shortlist.core.errors import ConfigError, choices, unknown
from shortlist.core.rng import rng
from shortlist.core.units import seconds
from shortlist.metric import sequential
from shortlist.metric.sequential import Estimate
from shortlist.serve.entry import Events, Served

BUCKETS = 10_000  # of a layer
ALARM = 0.001  # p-value of the ratio check below which a report says that it means nothing


@dataclass
class Variant:
    """One way to answer. The `[[experiment.variant]]` entries; the first is the control."""

    name: str = param("", "how answers and reports call it")
    weight: float = param(1.0, "its part of the experiment's users", low=1e-6)
    surface: str = param("", "the surface that answers; empty = the one that was asked for")
    interleave: bool = param(False, "draft its list and that of the surface that was asked for into one")


@dataclass
class Experiment:
    """A question that is put to a part of the users. The `[[experiment]]` entries."""

    name: str = param("", "how answers and reports call it")
    layer: str = param("default", "experiments of one layer share no users")
    share: float = param(1.0, "of the layer's users", low=0.0, high=1.0)
    salt: str = param("", "another salt, other users: for a repetition")
    variants: list[Variant] = field(default_factory=list, init=False)
    first: int = field(default=0, init=False)  # of its buckets in the layer
    stop: int = field(default=0, init=False)


class Assignment(NamedTuple):
    """A user's variant in an experiment."""

    experiment: str
    variant: Variant

    @property
    def label(self) -> str:
        """As answers and the log have it: `ranker:deeper`."""
        return f"{self.experiment}:{self.variant.name}"


class Experiments:
    """All that run at a time. Assignment costs one hash per layer and one per experiment that the user is in."""

    def __init__(self, experiments: Sequence[Experiment] = ()) -> None:
        self.experiments = {one.name: one for one in experiments}
        self._layers: dict[str, list[Experiment]] = {}
        for one in experiments:
            self._layers.setdefault(one.layer, []).append(one)
        self._cuts = {one.name: np.cumsum([variant.weight for variant in one.variants]) for one in experiments}

    @classmethod
    def read(cls, path: Path, surfaces: Iterable[str] | None = None) -> Experiments:
        """From a TOML file. surfaces: those that there are; None = whoever asks does not know. ConfigError for what cannot be meant: unknown options and surfaces, equal names, a layer given away twice."""
        try:
            tree = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ConfigError(f"{path}: no such file of experiments") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path.name}: not valid TOML: {error}") from None
        return cls.parse(tree, None if surfaces is None else list(surfaces), path.name)

    @classmethod
    def parse(cls, tree: Mapping[str, Any], surfaces: Sequence[str] | None, place: str = "experiments") -> Experiments:
        """From a parsed TOML tree."""
        for key in tree:
            if key != "experiment":
                raise ConfigError(f"{place}: {unknown('table', key, ['experiment'], 'tables')}")
        made: dict[str, Experiment] = {}
        taken: dict[str, int] = {}
        for i, entry in enumerate(tree.get("experiment", [])):
            where = f"{place}: experiment[{i}]"
            own = dict(entry)
            listed = own.pop("variant", [])
            one: Experiment = filled(Experiment, own, where)
            if not one.name or one.name in made or set(":,") & set(one.name):
                raise ConfigError(f"{where}.name: {one.name!r} is empty, taken, or holds a ':' or ','")
            one.variants = [_variant(each, surfaces, f"{where}.variant[{j}]") for j, each in enumerate(listed)]
            names = [variant.name for variant in one.variants]
            if len(names) < 2 or len(set(names)) < len(names):
                raise ConfigError(f"{where}: needs two variants or more, each with a name of its own, got {names}")
            one.first = taken.get(one.layer, 0)
            one.stop = taken[one.layer] = one.first + round(one.share * BUCKETS)
            if one.stop > BUCKETS:
                raise ConfigError(
                    f"{where}.share: layer {one.layer!r} is given away already: {one.first / BUCKETS:g} of 1"
                )
            made[one.name] = one
        return cls(list(made.values()))

    def assigned(self, user: object) -> list[Assignment]:
        """A user's variants, one per layer at most. None without an id: nobody could be found again."""
        if user is None:
            return []
        found = []
        for layer, experiments in self._layers.items():
            bucket = int(uniform("layer", layer, user) * BUCKETS)
            for one in experiments:
                if one.first <= bucket < one.stop:
                    cuts = self._cuts[one.name]
                    spot = np.searchsorted(cuts, uniform("variant", one.name, one.salt, user) * cuts[-1], side="right")
                    found.append(Assignment(one.name, one.variants[min(int(spot), len(cuts) - 1)]))
        return found


def _variant(entry: Mapping[str, Any], surfaces: Sequence[str] | None, where: str) -> Variant:
    made: Variant = filled(Variant, entry, where)
    if not made.name or set(":,") & set(made.name):
        raise ConfigError(f"{where}.name: {made.name!r} is empty, or holds a ':' or ','")
    if made.surface and surfaces is not None and made.surface not in surfaces:
        raise ConfigError(f"{where}.surface: unknown surface {made.surface!r}; choices: {choices(surfaces)}")
    if made.interleave and not made.surface:
        raise ConfigError(f"{where}.interleave: with which surface? say `surface`")
    return made


def uniform(*names: object) -> float:
    """A number in [0, 1) that depends on the names alone, evenly spread over users."""
    text = "\x1f".join(str(name) for name in names).encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") / 2**64


def team_draft(one: Sequence[Any], other: Sequence[Any], k: int, draw: np.random.Generator) -> tuple[list[Any], str]:
    """Two lists drafted into one of at most k, and which team each came from, as letters: `a` or `b`. In every round a coin says who picks first; each
    picks its best that is not there yet. An item at the head of both is nobody's advantage: either may have picked it.

    Source: Radlinski, Kurup, Joachims, How does clickthrough data reflect retrieval quality? (CIKM 2008), team-draft interleaving.
    """
    lists, spots = (one, other), [0, 0]
    drafted: list[Any] = []
    there: set[Any] = set()
    teams: list[str] = []
    order: list[int] = []
    while len(drafted) < k:
        if not order:
            first = int(draw.integers(2))
            order = [first, 1 - first]
        team = order.pop(0)
        own = lists[team]
        while spots[team] < len(own) and own[spots[team]] in there:
            spots[team] += 1
        if spots[team] >= len(own):
            if all(spots[side] >= len(lists[side]) or set(lists[side][spots[side] :]) <= there for side in (0, 1)):
                break
            continue
        item = own[spots[team]]
        drafted.append(item)
        there.add(item)
        teams.append("ab"[team])
    return drafted, "".join(teams)


def draft_rng(seed: int, user: object, request: object) -> np.random.Generator:
    """The coins of one request."""
    return rng(seed, "draft", user, request)


@dataclass
class Arm:
    """What became of one variant's users. users: who were exposed; complete: of them, those whose `window` is over; mean: successes of a
    complete user within it."""

    users: int
    complete: int
    mean: float


@dataclass
class Report:
    """One experiment. mismatch: p-value of the ratio check; sound: is it not below the alarm; differences: each variant's mean minus the
    control's, at an interval that holds at every look; drafts: for interleaved variants, the mean over requests with a success of +1 where the
    variant's own items won, -1 where the other's did."""

    experiment: str
    arms: dict[str, Arm] = field(default_factory=dict)
    mismatch: float = 1.0
    sound: bool = True
    differences: dict[str, Estimate] = field(default_factory=dict)
    drafts: dict[str, Estimate] = field(default_factory=dict)


def report(
    experiment: Experiment, served: Iterable[Served], events: Iterable[Events], positive: Sequence[str], *,
    window: str = "1d", now: int, alpha: float = 0.05,
) -> Report:  # fmt: skip
    """What the log says of an experiment. A user's value is the number of his positive events that answer exposed requests, within `window` of his first
    exposure; users whose window is not over at `now` (unix seconds) are left out, so that a value never changes once it counts: that is what the
    sequential interval needs. A user who was seen in two variants (the weights were changed) is left out, too."""
    length = seconds(window)
    label = {f"{experiment.name}:{variant.name}": variant.name for variant in experiment.variants}
    first: dict[object, int] = {}
    variant_of: dict[object, str] = {}
    mixed: set[object] = set()
    asked: dict[str, Served] = {}
    for answer in served:
        name = next((label[text] for text in answer.variant.split(",") if text in label), None)
        if name is None or answer.user_id is None:
            continue
        if variant_of.setdefault(answer.user_id, name) != name:
            mixed.add(answer.user_id)
        first[answer.user_id] = min(first.get(answer.user_id, answer.time), answer.time)
        asked[answer.request_id] = answer
    values = {user: 0.0 for user in first if user not in mixed and first[user] + length <= now}
    wins: dict[str, dict[str, float]] = {}
    for batch in events:
        for i, request in enumerate(batch.request_id):
            found = asked.get(str(request)) if request is not None else None
            if found is None or batch.event[i] not in positive:
                continue
            _credit(wins, found, batch.item_id[i])
            user = found.user_id
            if user in values and batch.time[i] < first[user] + length:
                values[user] += 1.0
    made = Report(experiment.name)
    groups = {name: [] for name in label.values()}  # type: dict[str, list[float]]
    for one, value in values.items():
        groups[variant_of[one]].append(value)
    users = {name: sum(1 for user in first if variant_of[user] == name) for name in groups}
    for name, group in groups.items():
        made.arms[name] = Arm(users[name], len(group), float(np.mean(group)) if group else float("nan"))
    made.mismatch = sequential.mismatch(list(users.values()), [variant.weight for variant in experiment.variants])
    made.sound = made.mismatch >= ALARM
    control, *others = groups
    tuned = max(sum(map(len, groups.values())), 1000)
    for name in others:
        made.differences[name] = sequential.difference(np.array(groups[name]), np.array(groups[control]), alpha, tuned)
    for variant in experiment.variants:
        if variant.interleave:
            scores = np.sign(list(wins.get(f"{experiment.name}:{variant.name}", {}).values()))
            made.drafts[variant.name] = sequential.mean(scores, alpha, tuned)
    return made


def _credit(wins: dict[str, dict[str, float]], answer: Served, item: object) -> None:
    """One success in a drafted answer: +1 for the variant's own team (`b`), -1 for the other's."""
    teams = answer.request.get("teams")
    if not teams or item not in answer.items:
        return
    team = teams[answer.items.index(item)]
    for text in answer.variant.split(","):
        won = wins.setdefault(text, {})
        won[answer.request_id] = won.get(answer.request_id, 0.0) + (1.0 if team == "b" else -1.0)
