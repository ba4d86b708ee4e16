"""The contracts: one kind of change per kind of part. A part subclasses its contract (or only has its methods) and is a
dataclass whose file name is its recipe name.

Shapes everywhere: n = requests, m = candidate rows over all n requests, items = catalogue size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from shortlist.core.batch import Array, Batch, Columns
from shortlist.core.rows import kind_table, member, offsets_of


@dataclass(frozen=True)
class History:
    """What each of n users did, as ragged columns; user i owns `offsets[i]:offsets[i + 1]`, newest last (log order)."""

    offsets: Array  # int64, n + 1
    items: Array  # int32
    times: Array  # int64 unix seconds
    kinds: Array  # int8 event-kind codes
    values: Array  # float32, NaN = none

    def of_kinds(self, kinds: Array) -> History:
        """Only events of these kinds (codes)."""
        keep = kind_table(kinds)[self.kinds]
        return self if keep.all() else self.where(keep)

    def where(self, keep: Array) -> History:
        """Only the events at which the mask is true."""
        kept = np.zeros(len(keep) + 1, dtype=np.int64)
        np.cumsum(keep, out=kept[1:])
        return self._taken(kept[self.offsets], keep)

    def last(self, k: int) -> History:
        """Only the newest k events of each user; k = 0 means all."""
        counts = np.diff(self.offsets)
        if k <= 0 or counts.max(initial=0) <= k:
            return self
        if len(counts) == 1:
            return self._taken(np.array([0, k]), slice(int(counts[0]) - k, None))
        place_from_end = np.repeat(self.offsets[1:], counts) - np.arange(self.offsets[-1])
        keep = place_from_end <= k
        offsets = np.zeros_like(self.offsets)
        np.cumsum(np.minimum(counts, k), out=offsets[1:])
        return self._taken(offsets, keep)

    def _taken(self, offsets: Array, rows: Array | slice) -> History:
        return History(offsets, self.items[rows], self.times[rows], self.kinds[rows], self.values[rows])


@dataclass(frozen=True)
class Mask:
    """What a source may return: shared (items,) bool or None for everything, minus what request i bans:
    `items[offsets[i]:offsets[i + 1]]`."""

    shared: Array | None = None
    offsets: Array | None = None
    items: Array | None = None

    def allows(self, batch: Batch) -> Array:
        """(m,) bool: are the batch's candidate rows allowed?"""
        from_shared = np.ones(batch.m, dtype=bool)
        if self.shared is not None:
            item = batch.item
            known = (item >= 0) & (item < len(self.shared))
            from_shared = known & self.shared[np.where(known, item, 0)]
        if self.offsets is None or self.items is None:
            return from_shared
        return from_shared & ~member(batch, self.offsets, self.items)

    def only(self, requests: Array) -> Mask:
        """The mask of some of the requests, by index and in that order."""
        if self.offsets is None or self.items is None:
            return self
        counts = np.diff(self.offsets)[requests]
        offsets = offsets_of(counts)
        rows = np.repeat(self.offsets[requests] - offsets[:-1], counts) + np.arange(offsets[-1])
        return Mask(self.shared, offsets, self.items[rows])


@dataclass(frozen=True)
class Pairs:
    """Scores that are worked out for the (request, item) pairs that are asked for, of n requests and `size` items."""

    n: int
    size: int
    of: Callable[
        [Array, Array], Array
    ]  # (r,) requests, (r,) items, grouped by request -> (r,) float32, NaN = no opinion

    def table(self) -> Array:
        """(n, size) float32: all of them."""
        owner = np.repeat(np.arange(self.n, dtype=np.int64), self.size)
        item = np.tile(np.arange(self.size, dtype=np.int32), self.n)
        return self.of(owner, item).reshape(self.n, self.size)


class Hits:
    """What a source found: (n, k) int32 items, best first, -1 where it has fewer; (n, k) float32 scores, NaN there.

    full: (n, items) or (1, items) float32 when the source knows its score of *every* item anyway: the merge then fills in the
    score of candidates that other sources found. NaN where the source has no opinion. Made from `Pairs`, it is worked out
    when it is asked for, and the merge asks for the pairs that it needs only.
    """

    def __init__(self, items: Array, scores: Array, full: Array | Pairs | None = None) -> None:
        self.items = items
        self.scores = scores
        self.rest = full

    @property
    def full(self) -> Array | None:
        """See the class."""
        return self.rest.table() if isinstance(self.rest, Pairs) else self.rest


def silent(steps: Iterable[Any], title: str = "", total: int | None = None) -> Iterable[Any]:
    """Progress that nobody watches: hands the steps through."""
    return steps


@dataclass(frozen=True)
class FitContext:
    """What a part may know while it is fitted, besides the log up to the cut-off."""

    catalogue: Any
    positive: tuple[str, ...]  # event kinds that are a success: what sources learn from by default, and the targets
    now: int = 0  # unix seconds of the cut-off: nothing at or after it is in the log
    seed: int = 0
    device: str = "cpu"
    map: Callable[..., Any] = map  # how to run independent pieces: a job engine may hand in its own
    progress: Callable[..., Iterable[Any]] = silent  # progress(steps, title, total): wraps long loops
    impression: str = "impression"  # the event kind that says that an item was shown
    context: tuple[str, ...] = ()  # event columns that a request carries, by the recipe
    place: str = ""  # where the part stands in the recipe, for messages

    def kinds(self, names: Sequence[str]) -> Array:
        """Codes of these event kinds; of the positive kinds when none is named."""
        codes: Array = self.catalogue.kind_codes(tuple(names) or self.positive, self.place)
        return codes


@runtime_checkable
class State(Protocol):
    """What may be known, as of the last event folded in."""

    catalogue: Any
    now: int  # the latest event time folded in

    def apply(self, events: Columns) -> None: ...  # the ONE way forward, offline and online
    def history(self, users: Array, last: int = 0) -> History: ...  # ragged; newest last
    def past(self, batch: Batch, events: Sequence[str], last: int = 0) -> History: ...  # once per batch
    def fold(self, aggregate: str) -> Fold: ...  # for folds with more to say than their readings
    def values(self, aggregate: str, batch: Batch) -> Array: ...  # (readings, m) float32, of a batch's candidates
    def read(self, aggregate: str, keys: Array, time: Array) -> Array: ...  # (readings, r) float64
    def scan(self, aggregate: str, size: int, time: int) -> Array: ...  # of all codes below size, at one moment
    def keys(self, by: Sequence[str], batch: Batch) -> Array: ...
    def seen(self, items: Array) -> Array: ...  # bool: has any event named this item?
    def known(self, name: str, codes: Array) -> Array: ...  # -1 for what nothing has brought yet
    def once(self, key: Any, make: Callable[[], Any]) -> Any: ...  # made once until the next event; not to be changed


class Fold(Protocol):
    """One aggregate per key, moved forward by events in log order. `update` and `read` are the only definition of the
    feature, offline and online. Slots are dense numbers that the state gives to keys."""

    by: tuple[str, ...]  # what it is keyed by: ("item",), ("user", "item.category") ...

    @property
    def name(self) -> str: ...
    @property
    def kinds(self) -> tuple[str, ...]: ...  # the event kinds that update is handed; all when empty
    def readings(self) -> tuple[str, ...]: ...  # what reading gives, one name per row; "" for a single one
    def bind(self, catalogue: Any) -> None: ...  # called when a state takes the fold in: event kinds have codes
    def grow(self, size: int) -> None: ...  # make room for slots below size
    def clear(self, slots: Array) -> None: ...  # these keys were evicted: make the slots new
    def bytes(self) -> int: ...  # memory of one slot
    def update(self, slots: Array, events: Columns) -> None: ...
    def read(self, slots: Array, times: Array, now: int) -> Array: ...  # (readings, r) float64; slot -1: never seen


class Part(Protocol):
    """What every part may have: aggregates that it reads, and something to learn."""

    def folds(self, ctx: FitContext) -> Sequence[Fold]:
        """The aggregates that the state must keep for this part."""
        return ()

    def fit(self, log: Any, ctx: FitContext) -> None:
        """Learn from the log, all of it before `ctx.now`. Sets `fitted` fields; called again for a later cut-off."""
        return


class Source(Part, Protocol):
    """May add candidate rows, each with its score; may not see what other sources found."""

    def retrieve(self, batch: Batch, state: State, k: int, allowed: Mask | None) -> Hits:
        """The (n, k) best items of n requests. What `allowed` bans must not be returned; None allows everything."""
        ...


class Filter(Part, Protocol):
    """May drop rows (hard constraints, before ranking is paid for); may not reorder.

    on_error: what a service does with the rows when the filter fails: `keep` them, `drop` them, or `fail` the request. Declared by
    the class (`on_error: ClassVar[str] = "keep"`), or by the recipe's entry; undeclared it is `fail`."""

    def keep(self, batch: Batch, state: State) -> Array:
        """(m,) bool: rows that stay."""
        ...

    def mask(self, batch: Batch, state: State) -> Mask | None:
        """The part of `keep` that can be told to the sources before they search, or None. It must never ban an item
        that `keep` would keep."""
        return None


class Feature(Part, Protocol):
    """May add columns; may not add, drop or move rows. A row's value depends on its own request, item and the state
    only, never on which other rows are there. float32 columns are numbers (NaN = missing), int32 columns categories (-1)."""

    def compute(self, batch: Batch, state: State) -> Columns:
        """Columns by name, each (m,). Names must be no other part's."""
        ...


@dataclass(frozen=True)
class Frame:
    """Training rows: candidates with features, and what happened."""

    batch: Batch
    label: Array  # (m,) float32, graded relevance, 0 = not taken
    weight: Array  # (m,) float32
    cutoff: Array  # (n,) int32: which cut-off the request belongs to, 0 = oldest
    features: tuple[str, ...] = ()  # the candidate columns a ranker may use, in order
    # (n,) int32: the newest cut-off whose window had ended when the request was asked, -1 = none; the one before its own when None
    ended: Array | None = None

    def matrix(self) -> tuple[Array, Array, tuple[str, ...], tuple[str, ...]]:
        """Numbers (m, f) float32, categories (m, c) int32, and the names of both: see `split`."""
        return split(self.batch, self.features)


def split(batch: Batch, features: Sequence[str]) -> tuple[Array, Array, tuple[str, ...], tuple[str, ...]]:
    """Feature columns as two blocks: (m, f) float32 numbers and (m, c) int32 categories, with their names. A column of an
    integer type is a category; everything else is a number."""
    names_of_categories = tuple(name for name in features if batch.cand[name].dtype.kind in "iu")
    names_of_numbers = tuple(name for name in features if batch.cand[name].dtype.kind not in "iu")
    numbers = np.empty((batch.m, len(names_of_numbers)), dtype=np.float32)
    for j, name in enumerate(names_of_numbers):
        numbers[:, j] = batch.cand[name]
    categories = np.empty((batch.m, len(names_of_categories)), dtype=np.int32)
    for j, name in enumerate(names_of_categories):
        categories[:, j] = batch.cand[name]
    return numbers, categories, names_of_numbers, names_of_categories


class Ranker(Protocol):
    """May add one score column; may not drop rows: only the pipeline cuts to `keep`."""

    def fit(self, frame: Frame, valid: Frame | None, ctx: FitContext) -> None:
        """Learn from rows with labels. valid: a newer frame for early stopping, or None to fit for as long as told."""
        ...

    def score(self, batch: Batch) -> Array:
        """(m,) float32, larger is better. A row's score depends on its own columns only."""
        ...


class Rule(Part, Protocol):
    """May keep and reorder rows: caps, diversity, pins, exploration; may not invent items."""

    def rows(self, batch: Batch, state: State, rng: Callable[[int], np.random.Generator]) -> Array:
        """Row indices grouped by request, in the new order. The batch comes in the order of the final score; rng(i) is the
        generator of request i.

        A rule that explores also has `drawn(batch, state, rng)`, with the same arguments: the row indices, and (rows,) float64 propensities:
        each row's probability at its place, given what stands above it. The pipeline keeps them as the column `propensity`."""
        ...
