"""Explain: one value of one column, for one user, item and time, down to the events that made it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np

from shortlist.core.batch import Array, Batch, Columns
from shortlist.core.contracts import FitContext, Fold, History
from shortlist.core.errors import ConfigError, unknown
from shortlist.core.rows import offsets_of
from shortlist.core.units import iso, seconds
from shortlist.data.dataset import Dataset
from shortlist.data.log import Log
from shortlist.data.timeline import Split
from shortlist.data.vocabulary import Vocabulary
from shortlist.experiment.features import settled
from shortlist.experiment.fit import context_of, history_kinds, new_state
from shortlist.pipeline.config import Recipe
from shortlist.pipeline.pipeline import Pipeline
from shortlist.state.fold.count import Count
from shortlist.state.fold.decay import Decay
from shortlist.state.fold.follow import Follow
from shortlist.state.fold.window import Window
from shortlist.state.state import State

SHOWN = 20
NEAR = 10_000  # ids among which a near one is looked for
SUMS = (Count, Decay, Window)  # folds whose reading is the sum of what each event alone would read


@dataclass
class Why:
    """A value and what it was made of.

    reads: the aggregate that the column is read from, "" where there is none, with its key's values and the reading that was taken.
    events: what was folded in for that key, or the part of the user's history that was looked at, newest first, at most 20 of `total`; where the
    reading is a sum, each with what it `adds`, in all `added`; where it fades otherwise, with its `weight`. row: attributes of the table, for columns that are read from one.
    """

    column: str
    family: str
    type: str
    value: Any
    user: Any
    item: Any
    time: str
    known: int  # events of the log before that time
    reads: str = ""
    key: dict[str, Any] = field(default_factory=dict)
    reading: float | None = None
    source: str = ""  # what the events are
    events: list[dict[str, Any]] = field(default_factory=list)
    total: int = 0
    added: float | None = None
    row: dict[str, Any] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """For programs."""
        return dict(vars(self))


class Spy:
    """A state that remembers which histories it was asked for."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.looked: list[History] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._state, name)

    def past(self, batch: Batch, events: Sequence[str], last: int = 0) -> History:
        """As the state has it."""
        self.looked.append(self._state.past(batch, events, last))
        return self.looked[-1]

    def history(self, users: Array, last: int = 0) -> History:
        """As the state has it."""
        self.looked.append(self._state.history(users, last))
        return self.looked[-1]


class Witness:
    """A fold that remembers which events it was handed for which slot: exactly those that another fold of the same key and kinds was.
    The log position of an event stands in its column `position`."""

    name = "witness"

    def __init__(self, fold: Fold) -> None:
        self.by, self.kinds = fold.by, fold.kinds
        self._seen: list[
            tuple[Array, Array | None]
        ] = []  # slots and log positions in turn; None: the slots were cleared
        self.asked = np.zeros(0, dtype=np.int64)

    def readings(self) -> tuple[str, ...]:
        """One, of no use."""
        return ("",)

    def bind(self, catalogue: Any) -> None:
        """Nothing to learn."""

    def grow(self, size: int) -> None:
        """No room to make."""

    def bytes(self) -> int:
        """Not by slot."""
        return 0

    def clear(self, slots: Array) -> None:
        """What these keys had is forgotten."""
        self._seen.append((slots, None))

    def update(self, slots: Array, events: Columns) -> None:
        """Remember who was met."""
        there = slots >= 0
        self._seen.append((slots[there], events["position"][there]))

    def read(self, slots: Array, times: Array, now: int) -> Array:
        """Zeros; which slots were asked for is remembered."""
        self.asked = slots
        return np.zeros((1, len(slots)))

    def events(self) -> tuple[Array, Array]:
        """Index into the slots asked for, and log position, of every event of theirs, in log order."""
        which, positions = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
        for i, slot in enumerate(self.asked.tolist()):
            mine: list[Array] = []
            for slots, at in self._seen if slot >= 0 else ():
                met = slots == slot
                if at is not None:
                    mine.append(at[met])
                elif met.any():
                    mine = []
            positions += mine
            which += [np.full(len(part), i) for part in mine]
        order = np.argsort(np.concatenate(positions), kind="stable")
        return np.concatenate(which)[order], np.concatenate(positions)[order]


def explain(
    recipe: Recipe,
    data: Dataset,
    column: str,
    user: object,
    item: object,
    time: int,
    context: Mapping[str, str] | None = None,
) -> Why:
    """The value that a request of that user at that time (unix seconds) has for that candidate. Known are the events before it; what a
    family learns from the log, it learns from those. ConfigError for a column, user, item or context that is not there."""
    catalogue, log = data.catalogue, data.log
    known = log.position(time)
    batch = _asked(recipe, data, user, item, time, context or {})
    own, _ = settled(recipe, data)
    pipeline = Pipeline.of(own)
    ctx = context_of(own, data, time)
    family = _family(pipeline, column, data, ctx, batch, new_state(own, data, pipeline, ctx), log.slice(0, known), own)
    state = new_state(own, data, pipeline, ctx)
    if known:
        state.apply(log.slice(0, known).columns)
    batch = Batch(
        {**batch.req, **{name: state.known(name, batch.req[name]) for name in catalogue.context if name in batch.req}},
        batch.offsets,
        batch.cand,
    )
    spy = Spy(state)
    values = pipeline.features[family].compute(batch, spy)
    value = values[column][0]
    kind = "category" if values[column].dtype.kind in "iu" else "number"
    why = Why(
        column,
        family,
        kind,
        value.item(),
        catalogue.users.ids.name(int(batch.user[0])),
        catalogue.items.ids.name(int(batch.item[0])),
        iso(time),
        known,
    )
    part = pipeline.features[family]
    aggregate = part.origin(column) if hasattr(part, "origin") else ""
    fold = state.fold(aggregate) if aggregate else None
    if isinstance(fold, Follow):
        _met(why, fold, spy.looked, batch, data)
    elif fold is not None:
        _read(why, state, fold, batch, data, own, pipeline, ctx)
    elif spy.looked:
        _looked(why, max(spy.looked, key=lambda history: len(history.items)), data, state)
    _attribute(why, batch, data)
    return why


def _asked(recipe: Recipe, data: Dataset, user: object, item: object, time: int, context: Mapping[str, str]) -> Batch:
    """The request and its one candidate."""
    catalogue = data.catalogue
    codes = []
    for title, name, table in (("user", user, catalogue.users), ("item", item, catalogue.items)):
        code = table.ids.code(name)
        if code < 0:
            raise ConfigError(f"--{title}: {_unknown(title, str(name), table.ids)}")
        codes.append(code)
    columns: Columns = {}
    for name in context:
        if name not in recipe.data.context:
            raise ConfigError(f"--context: {unknown('context', name, recipe.data.context)}")
    for name in recipe.data.context:
        columns[name] = _context(name, context.get(name), data)
    asked = Batch.of(np.array(codes[:1]), np.array([time]), **columns)
    return Batch(asked.req, offsets_of(np.array([1])), {"item": np.array(codes[1:], dtype=np.int32)})


def _unknown(title: str, name: str, ids: Vocabulary) -> str:
    """What to say of an id that the data do not have: a near one, not all of them."""
    near = difflib.get_close_matches(name, [str(one) for one in ids.series().head(NEAR).to_list()], 1)
    hint = f" did you mean {near[0]!r}?" if near else ""
    return f"unknown {title} {name!r};{hint} the data have {len(ids):,}" + (
        f", for example {ids.name(0)!r}" if len(ids) else ""
    )


def _context(name: str, given: str | None, data: Dataset) -> Array:
    vocabulary = data.catalogue.context.get(name)
    if vocabulary is not None:
        return np.array([-1 if given is None else vocabulary.code(given)], dtype=np.int32)
    try:
        return np.array([np.nan if given is None else float(given)], dtype=np.float32)
    except ValueError:
        raise ConfigError(f"--context {name}={given}: must be a number") from None


def _family(
    pipeline: Pipeline,
    column: str,
    data: Dataset,
    ctx: FitContext,
    batch: Batch,
    empty: State,
    known: Log,
    recipe: Recipe,
) -> str:
    """The name of the family whose column it is, fitted on what is known. Families are asked in turn with a state that knows nothing:
    which columns there are does not depend on what happened."""
    names: list[str] = []
    for family, part in pipeline.features.items():
        if hasattr(part, "fit"):
            part.fit(_training(recipe, data, known, ctx), replace(ctx, place=f"feature.{family}"))
        made = part.compute(batch, empty)
        if column in made:
            return family
        names += list(made)
    if column.startswith(("score_", "rank_", "percentile_")) or column in ("best_rank", "chance"):
        raise ConfigError(
            f"--explain {column}: is of a source, not of a feature family; the engine's `trace` tells who found an item"
        )
    raise ConfigError(f"--explain: {unknown('column', column, names)}")


def _training(recipe: Recipe, data: Dataset, known: Log, ctx: FitContext) -> Log:
    """What parts may learn from, as in a fit."""
    if not len(known):
        return known
    return recipe.timeline.training(data, Split(ctx.now, len(known), len(known)))


def _read(
    why: Why, state: State, fold: Fold, batch: Batch, data: Dataset, recipe: Recipe, pipeline: Pipeline, ctx: FitContext
) -> None:
    """The aggregate's reading, and the events behind it."""
    why.reads, why.source = fold.name, "folded in for this key"
    why.key = _key(fold.by, batch, state)
    j = _which(fold, why.column)
    why.reading = float(state.values(fold.name, batch)[j, 0])
    witness, position = _witnessed(fold, batch, data, recipe, pipeline, ctx)
    rows = np.unique(position)
    adds: Array | None = None
    title = "adds"
    lives = getattr(fold, "lives", None)
    if not isinstance(fold, SUMS) and lives is not None:
        age = max(int(batch.time[0]), state.now) - data.log.time[rows]
        adds, title = 2.0 ** (-age / lives[j]), "weight"
    if isinstance(fold, SUMS):
        alone = _alone(fold, data.log, position, batch, state)[j] / max(len(witness.asked), 1)
        adds = np.zeros(len(rows))
        np.add.at(adds, np.searchsorted(rows, position), alone)
        why.added = float(adds.sum())
    _list(why, data, rows, adds, title)


def _met(why: Why, fold: Follow, looked: Sequence[History], batch: Batch, data: Dataset) -> None:
    """Live neighbours: they are of the items of the history, and come from what others did. The events of this item by people who met
    one of those items, not too long before or after: those that the rings hold, and older ones that they may have lost."""
    log = data.log.slice(0, why.known)
    kinds = data.catalogue.kind_codes(fold.kinds) if fold.kinds else np.unique(log.kind)
    mine = np.isin(log.kind, kinds)
    anchors = np.unique(looked[0].items) if looked else np.zeros(0, dtype=np.int32)
    anchors = anchors[anchors != batch.item[0]]
    times: dict[int, list[int]] = {}
    for at in np.flatnonzero(mine & np.isin(log.item, anchors)).tolist():
        times.setdefault(int(log.user[at]), []).append(int(log.time[at]))
    within = seconds(fold.within)
    rows = [
        at
        for at in np.flatnonzero(mine & (log.item == batch.item[0])).tolist()
        if any(abs(int(log.time[at]) - other) <= within for other in times.get(int(log.user[at]), ()))
    ]
    why.reads = fold.name
    why.key = {"history": data.catalogue.items.ids.names(anchors).to_list()}
    why.source = f"of this item by people who met one of the history's at most {fold.within} apart"
    _list(why, data, np.array(rows, dtype=np.int64), None)


def _witnessed(
    fold: Fold, batch: Batch, data: Dataset, recipe: Recipe, pipeline: Pipeline, ctx: FitContext
) -> tuple[Witness, Array]:
    """A fold that saw what this one saw, and the log positions of the events of the candidate's key, once per value of the key."""
    witness = Witness(fold)
    memory = recipe.state
    # Other folds of the same key take part, because all of them decide which keys a full table forgets.
    same = [other for other in pipeline.folds(ctx) if other.by == fold.by]
    events, bounds = history_kinds(recipe, data), pipeline.bounds()
    state = State(data.catalogue, [*same, witness], history=1, history_events=events, keys=memory.keys, bounds=bounds)
    known = data.log.slice(0, data.log.position(int(batch.time[0])))
    if len(known):
        state.apply({**known.columns, "position": np.arange(len(known), dtype=np.int64)})
    state.values(witness.name, batch)
    _, position = witness.events()
    return witness, position


def _alone(fold: Fold, log: Log, position: Array, batch: Batch, state: State) -> Array:
    """(readings, events) what the fold would read if each event were the only one: every event in a slot of its own."""
    fresh: Any = replace(cast(Any, fold))  # a dataclass, which its protocol cannot say
    fresh.bind(state.catalogue)
    fresh.grow(len(position))
    slots = np.arange(len(position), dtype=np.int64)
    fresh.update(slots, log.take(position).columns)
    read: Array = fresh.read(slots, batch.time, state.now)
    return read


def _which(fold: Fold, column: str) -> int:
    """The reading that a column is of: columns end in its name."""
    names = fold.readings()
    tail = column.rpartition("/")[2].partition(":")[0]
    wanted = "" if tail == "total" else tail
    return names.index(wanted) if wanted in names else 0


def _key(by: Sequence[str], batch: Batch, state: State) -> dict[str, Any]:
    """The values of a candidate's key, by outside names."""
    catalogue = state.catalogue
    told: dict[str, Any] = {}
    for name in by:
        title, _, attribute = name.partition(".")
        tables = {"item": catalogue.items, "user": catalogue.users, "last": catalogue.items}
        if attribute and title in tables and tables[title].column(attribute).kind == "tags":
            codes = batch.item if title == "item" else batch.user
            _, entries = tables[title].tags(attribute, codes)
            words = tables[title].column(attribute).vocabulary
            told[name] = [] if words is None else words.names(entries).to_list()
            continue
        code = int(state.keys((name,), batch)[0])
        vocabulary = (
            (tables[title].column(attribute).vocabulary if attribute else tables[title].ids)
            if title in tables
            else catalogue.context.get(name)
        )
        told[name] = code if vocabulary is None else vocabulary.name(code) if code >= 0 else None
    return told


def _looked(why: Why, history: History, data: Dataset, state: State) -> None:
    """The events of the user's history that the family looked at."""
    why.source, why.total = "the user's history, as far as it was looked at", len(history.items)
    for i in range(len(history.items) - 1, max(-1, len(history.items) - 1 - SHOWN), -1):
        why.events.append(
            {
                "user": why.user,
                "item": data.catalogue.items.ids.name(int(history.items[i])),
                "time": iso(int(history.times[i])),
                "event": data.catalogue.kinds.name(int(history.kinds[i])),
                "value": _number(history.values[i]),
            }
        )


def _list(why: Why, data: Dataset, position: Array, adds: Array | None, title: str = "adds") -> None:
    """Events by log position, newest first, each with what it adds or weighs."""
    why.total = len(position)
    log, catalogue = data.log, data.catalogue
    for i in range(len(position) - 1, max(-1, len(position) - 1 - SHOWN), -1):
        at = int(position[i])
        told = {
            "user": catalogue.users.ids.name(int(log.user[at])),
            "item": catalogue.items.ids.name(int(log.item[at])),
            "time": iso(int(log.time[at])),
            "event": catalogue.kinds.name(int(log.kind[at])),
            "value": _number(log.columns["value"][at]),
        }
        why.events.append(told if adds is None else {**told, title: float(adds[i])})


def _attribute(why: Why, batch: Batch, data: Dataset) -> None:
    """The row of the table, for a column `item.<name>` or `user.<name>`; the value of a category in words."""
    title, _, rest = why.column.partition(".")
    tables = {"item": (data.catalogue.items, int(batch.item[0])), "user": (data.catalogue.users, int(batch.user[0]))}
    if title in tables and rest.partition(":")[0] in tables[title][0].columns:
        table, code = tables[title]
        why.row = {name: _cell(table.column(name).kind, name, table, code) for name in table.columns}


def _cell(kind: str, name: str, table: Any, code: int) -> Any:
    """One attribute, as a person would write it."""
    column = table.column(name)
    if kind in ("category", "tags"):
        _, entries = table.tags(name, np.array([code]))
        words = column.vocabulary.names(entries).to_list()
        return words if kind == "tags" else (words[0] if words else None)
    value = column.values[code]
    if kind == "vector":
        return [round(float(number), 4) for number in value]
    if kind == "moment":
        return iso(int(value)) if int(value) > 0 else None
    return _number(value)


def _number(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)
