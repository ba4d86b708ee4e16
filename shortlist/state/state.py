"""The state: what may be known as of the last event folded in. `apply` is the ONE way forward, offline and online."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np
from numba import njit

from shortlist.core.batch import Array, Batch, Columns
from shortlist.core.component import build, config, learned, load_array, save_array
from shortlist.core.contracts import Fold, History
from shortlist.core.errors import BundleError, ConfigError, DataError, choices
from shortlist.core.rows import kind_table
from shortlist.data.catalogue import Catalogue
from shortlist.state.form import Form
from shortlist.state.history import EVERY, Ring, longest, newest
from shortlist.state.keys import KEYS, Codes, Hashed
from shortlist.state.reading import Pass, Reader
from shortlist.state.slotted import longer
from shortlist.state.view import View

NEVER = -(2**62)
BLOCK = 1 << 15  # events per pass: the columns of a block stay in cache while every fold reads them
KEPT = 64  # things that are made once per log position, at most
FOLDED = ("user", "item", "time", "kind", "value", "position")  # what a fold may know of an event besides its key


class Kept:
    """Which events of a block are of some kinds, worked out once for all aggregates that want those."""

    def __init__(self, kinds: Array, table_of: Callable[[tuple[str, ...]], Array]) -> None:
        self._kinds, self._table_of = kinds, table_of
        self._known: dict[tuple[str, ...], tuple[Array | None, bool]] = {(): (None, len(kinds) > 0)}

    def mask(self, names: tuple[str, ...]) -> Array | None:
        """(e,) bool; None for all events."""
        return (self._known.get(names) or self._look(names))[0]

    def some(self, names: tuple[str, ...]) -> bool:
        """Is there any?"""
        return (self._known.get(names) or self._look(names))[1]

    def _look(self, names: tuple[str, ...]) -> tuple[Array | None, bool]:
        keep: Array = self._table_of(names)[self._kinds]
        count = np.count_nonzero(keep)
        found = self._known[names] = (None if count == len(keep) else keep), bool(count)
        return found


@dataclass
class Within:
    """An aggregate whose readings are some of those of another one."""

    fold: Fold
    whole: str
    rows: list[int]

    def __post_init__(self) -> None:
        step = self.rows[1] - self.rows[0] if len(self.rows) > 1 else 1
        run = range(self.rows[0], self.rows[-1] + 1, max(step, 1))
        # In even steps they need no copy.
        self.taken: list[int] | slice = slice(run.start, run.stop, run.step) if self.rows == list(run) else self.rows


class State:
    """Folds by name, the users' histories, and which items have been met."""

    def __init__(
        self,
        catalogue: Catalogue,
        folds: Iterable[Fold] = (),
        *,
        history: int = 512,
        history_events: Sequence[str] = (),
        keys: int = KEYS,
        bounds: Mapping[tuple[str, ...], int] | None = None,
    ) -> None:
        """folds: aggregates to keep, equal ones once. history: newest events kept per user. history_events: the kinds
        that enter it (all when empty). keys: how many values a key of several columns may have before its coldest go; bounds: fewer, for
        single keys."""
        self.catalogue = catalogue
        self.folds: dict[str, Fold] = {}
        self.now = NEVER
        self.count = 0  # events folded in: the log position
        self._wanted: dict[tuple[str, ...], Array] = {}  # (128,) bool per tuple of event kinds
        self._forms: dict[tuple[str, ...], Form] = {}
        self._slots: dict[tuple[str, ...], Codes | Hashed] = {}
        self._plan: dict[tuple[str, ...], dict[tuple[str, ...], list[Fold]]] = {}  # by key columns, then event kinds
        self._readers: dict[str, Reader] = {}
        self._pass = Pass()
        self._longest: dict[tuple[str, ...], int] = {}  # the most events of a history that are asked for, by kinds
        self._ring = Ring(history)
        self._history_events = tuple(history_events)
        catalogue.kind_codes(self._history_events, "history_events")
        self._keys = keys
        self._bounds = dict(bounds or {})
        self._met = np.zeros(1024, dtype=bool)
        self._previous = np.full(1024, -1, dtype=np.int32)  # by user: the newest item of the history
        self._once: tuple[int, dict[Hashable, Any]] = (-1, {})  # the log position, and what was made at it
        self._arrived: dict[str, int] = {}  # highest code folded in, of users and of every context column
        self._within: dict[str, Within] = {}
        self.beside: WeakSet[State] = WeakSet()  # others, of the same users, that must forget whom this one forgets
        every = {fold.name: fold for fold in folds}
        for fold in every.values():
            whole, rows = _whole(fold, every)
            if rows is None:
                self._keep(fold)
            else:
                self._within[fold.name] = Within(fold, whole.name, rows)

    def _keep(self, fold: Fold) -> None:
        if fold.by not in self._forms:
            self._forms[fold.by] = Form(fold.by, self.catalogue, fold.name, len(self._forms))
        self.catalogue.kind_codes(fold.kinds, fold.name)
        fold.bind(self.catalogue)
        self.folds[fold.name] = fold
        if fold.by not in self._slots:
            limit = min(self._bounds.get(fold.by, self._keys), self._keys)
            self._slots[fold.by] = Hashed(limit) if len(fold.by) > 1 else Codes()
        self._plan.setdefault(fold.by, {}).setdefault(fold.kinds, []).append(fold)
        self._readers[fold.name] = Reader.of(fold, self._forms[fold.by], self._slots[fold.by])

    def apply(self, events: Columns) -> None:
        """Fold events in, in the order given, which becomes log order. Columns as in `Log`; codes may be new, times may be
        tied or late. DataError, and nothing folded in, for an event without a user, an item or a kind (code -1)."""
        lengths = {name: len(column) for name, column in events.items()}
        if len(set(lengths.values())) != 1:
            raise DataError(f"event columns differ in length: {choices(f'{name} {n}' for name, n in lengths.items())}")
        for name in ("user", "item", "kind"):
            if events[name].min(initial=0) < 0:
                row = int(np.argmax(events[name] < 0))
                raise DataError(
                    f"event {row}: {name} has code {events[name][row]}; every event must name a known {name}"
                )
        for start in range(0, len(events["time"]), BLOCK):
            self._apply({name: column[start : start + BLOCK] for name, column in events.items()})

    def _apply(self, events: Columns) -> None:
        kept = Kept(events["kind"], self._table_of)
        users = _only(events["user"], kept.mask(self._history_events))
        previous = self._follow(events["user"], users, events["item"])
        every = {name: events[name] for name in FOLDED if name in events}
        for by, groups in self._plan.items():
            # Slots, and who goes from a full table, must not depend on where blocks begin: keys of all kinds get theirs in one pass.
            kinds = _union(groups)
            if not kept.some(kinds):
                continue
            keys, rows = self._event_keys(by, events, previous)
            if rows is None:
                self._fold_in(by, groups, _only(keys, kept.mask(kinds)), None, every, kept)
            else:
                folded = {name: column[rows] for name, column in every.items()}
                own = Kept(folded["kind"], self._table_of)
                self._fold_in(by, groups, _only(keys, own.mask(kinds)), rows, folded, own)
        self._ring.append(users, events["item"], events["time"], events["kind"], events["value"])
        self._meet(events["item"])
        for name in ("user", *self.catalogue.context):
            if name in events:
                self._arrived[name] = max(self._arrived.get(name, -1), int(events[name].max()))
        self.now = max(self.now, int(events["time"].max()))
        self.count += len(events["time"])

    def _fold_in(
        self,
        by: tuple[str, ...],
        groups: dict[tuple[str, ...], list[Fold]],
        wanted: Array,
        rows: Array | None,
        events: Columns,
        kept: Kept,
    ) -> None:
        """One key's folds over a block, of the keys that any of them wants. Where its table is full, the block is cut: what came before
        is folded in, the coldest keys go, and the rest follows."""
        table, size = self._slots[by], len(wanted)
        start = 0
        while start < size:
            first, own_rows = (self.count, rows[start:]) if rows is not None else (self.count + start, None)
            slots, done = table.add(wanted[start:], first, own_rows)
            stop = start + done
            part = events if done == size else {name: column[start:stop] for name, column in events.items()}
            for names, folds in groups.items():
                mask = kept.mask(names)
                some = kept.some(names) if done == size or mask is None else bool(mask[start:stop].any())
                own = _only(slots, mask if mask is None else mask[start:stop]) if some else slots
                for fold in folds:
                    fold.grow(table.size)
                    if some:
                        fold.update(own, part)
            if stop < size:
                gone = table.evict()
                for fold in itertools.chain.from_iterable(groups.values()):
                    fold.clear(gone)
            start = stop

    def _follow(self, users: Array, kept: Array, items: Array) -> Array:
        """(e,) each event's user's newest item before it, -1 = none; and the newest items, moved on."""
        self._previous = longer(self._previous, int(users.max()) + 1, -1)
        return _followed(self._previous, users, kept, items)

    def _meet(self, items: Array) -> None:
        self._met = longer(self._met, int(items.max()) + 1)
        self._met[items] = True

    def _table_of(self, names: tuple[str, ...]) -> Array:
        """(128,) bool: which kinds are these?"""
        table = self._wanted.get(names)
        if table is None:
            table = self._wanted[names] = kind_table(self.catalogue.kind_codes(names))
        return table

    def _event_keys(self, by: tuple[str, ...], events: Columns, previous: Array) -> tuple[Array, Array | None]:
        """(e,) keys of events; with a column of lists, one per entry, and the event that each is of."""
        things = {"item": events["item"], "user": events["user"], "last": previous}
        return self._forms[by].keys(things, events, events["time"], len(events["time"]))

    def _view(self, batch: Batch) -> View:
        """What has been looked up for a batch so far."""
        view: View | None = batch.memo.get(self)
        if view is None or view.count != self.count:
            view = batch.memo[self] = View(batch, self.count, self._previous)
        return view

    def form(self, by: Sequence[str]) -> Form:
        """How the key of these columns is made."""
        form = self._forms.get(tuple(by))
        return form if form is not None else Form(tuple(by), self.catalogue, "keys")

    def keys(self, by: Sequence[str], batch: Batch) -> Array:
        """(m,) int64 keys of a batch's candidate rows for aggregates by these columns; -1 where any is missing. Not for columns of
        lists."""
        return self._view(batch).keys(batch, self.form(by))

    def values(self, aggregate: str, batch: Batch) -> Array:
        """An aggregate of a batch's candidates, as of each request: (readings, m) float32. By a column of lists, the mean over the
        candidate's entries, as far as they have a reading; NaN where it has no entry."""
        view = self._view(batch)
        found = view.read.get(aggregate)
        return found if found is not None else self._values(aggregate, batch, view)

    def _values(self, aggregate: str, batch: Batch, view: View) -> Array:
        part = self._within.get(aggregate)
        if part is not None:
            taken = view.read[aggregate] = self.values(part.whole, batch)[part.taken]
            return taken
        reader = self._readers.get(aggregate) or self._readers[self.fold(aggregate).name]
        if view.n != 1:
            out = view.read[aggregate] = reader.read(view, batch, self.now)
            return out
        if not view.read:
            self._pass.read(view, batch, self.now)
        if aggregate not in view.read:
            view.read[aggregate] = reader.read(view, batch, self.now)
            self._pass.add(aggregate, reader)
        return view.read[aggregate]

    def slots(self) -> dict[tuple[str, ...], Codes | Hashed]:
        """The table of slots of every key."""
        return self._slots

    def fold(self, aggregate: str) -> Fold:
        """An aggregate by name, for what it is; ConfigError with the choices for one that the state does not keep. One that is part of
        another (`whole`) holds nothing itself."""
        fold = self.folds.get(aggregate)
        if fold is None and aggregate in self._within:
            fold = self._within[aggregate].fold
        if fold is None:
            raise ConfigError(f"no aggregate {aggregate!r} in the state; it keeps: {choices(self.folds)}")
        return fold

    def past(self, batch: Batch, events: Sequence[str], last: int = 0) -> History:
        """What a batch's users did, of these event kinds (all when empty): the newest `last` events, 0 = all that are kept. Looked up
        once per batch, whoever asks."""
        view, kinds = self._view(batch), tuple(events)
        found = view.past.get((kinds, last))
        if found is None:
            wanted = self._table_of(kinds) if kinds else EVERY
            # One request: what anybody asks for is the end of the longest that somebody asks for.
            most = self._longest[kinds] = longest(last, self._longest.get(kinds, last)) if view.n == 1 else last
            whole = view.past.get((kinds, most))
            if whole is None:
                whole = view.past[kinds, most] = self._ring.read(batch.user, most, wanted)
            found = view.past[kinds, last] = whole if most == last else newest(whole, last)
        return found

    def read(self, aggregate: str, keys: Array, time: Array) -> Array:
        """An aggregate, by name, of (r,) keys at (r,) or (1,) unix seconds: (readings, r) float64."""
        part = self._within.get(aggregate)
        if part is not None:
            return self.read(part.whole, keys, time)[part.rows]
        fold = self.fold(aggregate)
        slots = self._slots[fold.by].find(np.ascontiguousarray(keys, dtype=np.int64))
        return fold.read(slots, np.ascontiguousarray(time, dtype=np.int64).reshape(-1), self.now)

    def scan(self, aggregate: str, size: int, time: int) -> Array:
        """An aggregate of all codes below `size` at one moment: (size,) float32. For sources that rank the whole catalogue."""
        part = self._within.get(aggregate)
        fold: Any = self.folds.get(part.whole if part is not None else aggregate)
        if fold is not None and hasattr(fold, "scan"):
            scanned: Array = fold.scan(size, time, self.now, part.rows[0]) if part else fold.scan(size, time, self.now)
            return scanned
        every = np.arange(size, dtype=np.int64)
        out: Array = self.read(aggregate, every, np.array([time], dtype=np.int64))[0].astype(np.float32)
        return out

    def once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What `make` makes, made once for as long as no event is folded in: for what depends on the state and the key alone, such as a list
        that all requests of a moment share. It must not be changed by whoever gets it."""
        position, made = self._once
        if position != self.count or len(made) >= KEPT:
            made = {}
            self._once = (self.count, made)
        found = made.get(key)
        if found is None:
            found = made[key] = make()
        return found

    def history(self, users: Array, last: int = 0) -> History:
        """What each of (n,) users did: the newest `last` events, 0 = all that are kept (`history` at most)."""
        return self._ring.read(users, last)

    def history_arrays(self) -> dict[str, Array]:
        """What holds the histories, for those who reckon memory."""
        return self._ring.arrays()

    def seen(self, items: Array) -> Array:
        """(len,) bool: has any event named this item?"""
        inside = (items >= 0) & (items < len(self._met))
        met: Array = inside & self._met[np.where(inside, items, 0)]
        return met

    def known(self, name: str, codes: Array) -> Array:
        """Codes of users (`user`) or of a context column, -1 for those that no event has brought and no table lists. A log that
        was encoded at once knows the codes of its future; a live service does not, and neither may a request."""
        listed = self.catalogue.users.listed if name == "user" else 0
        out: Array = np.where(codes <= max(self._arrived.get(name, -1), listed - 1), codes, codes.dtype.type(-1))
        return out

    def forget(self, user: int) -> None:
        """Take out what is known of one user (code): history, attributes, aggregates keyed by the user alone, and with pairs of the user and
        something, too. What the user added to counts of other things stays: nobody can be found in it."""
        for state in (self, *self.beside):
            state._forget(user)
        self.catalogue.users.forget(user)

    def move(self, catalogue: Catalogue) -> None:
        """Stand on another catalogue, in which all codes are what they were: one that has grown."""
        self.catalogue = catalogue
        self._forms = {by: Form(by, catalogue, "keys", form.number) for by, form in self._forms.items()}
        self._readers = {
            fold.name: Reader.of(fold, self._forms[fold.by], self._slots[fold.by]) for fold in self.folds.values()
        }
        self._pass = Pass()
        self._wanted = {}

    def _forget(self, user: int) -> None:
        self._ring.forget(user)
        if user < len(self._previous):
            self._previous[user] = -1
        for by, groups in self._plan.items():
            if not by or by[0].partition(".")[0] != "user":
                continue
            table = self._slots[by]
            slots = np.array([user]) if by == ("user",) else np.zeros(0, dtype=np.int64)
            if by[0] == "user" and len(by) == 2 and isinstance(table, Hashed):
                slots = table.of_first(user)
            for fold in itertools.chain.from_iterable(groups.values()):
                fold.clear(slots)

    def standing(self) -> dict[str, Any]:
        """Where it stands, besides its arrays: the latest event time, the events folded in, the highest codes met."""
        return {"now": self.now, "count": self.count, "arrived": self._arrived}

    def arrays(self) -> dict[str, Array]:
        """All that is held, by the names that a snapshot gives."""
        made = {
            f"fold.{i}.{name}": getattr(fold, name)
            for i, fold in enumerate(self.folds.values())
            for name in learned(fold)
        }
        for i, slots in enumerate(self._slots.values()):
            made |= {f"slots.{i}.{name}": array for name, array in slots.arrays().items()}
        made |= {f"history.{name}": array for name, array in self._ring.arrays().items()}
        return {**made, "met": self._met, "previous": self._previous}

    def snapshot(self, folder: Path) -> None:
        """Write the state as plain arrays and one JSON description into a new folder."""
        folder.mkdir(parents=True, exist_ok=True)
        about: dict[str, Any] = {
            **self.standing(),
            "history": self._ring.length,
            "history_events": list(self._history_events),
            "keys": self._keys,
            "folds": [config(fold) for fold in self.folds.values()],
            "within": [config(part.fold) for part in self._within.values()],
            "slots": [list(by) for by in self._slots],
        }
        for name, array in self.arrays().items():
            save_array(folder / f"{name}.npy", array)
        (folder / "state.json").write_text(json.dumps(about, indent=1))

    @classmethod
    def load(cls, folder: Path, catalogue: Catalogue) -> State:
        """Read a snapshot. Arrays are mapped copy-on-write: opening is instant, and the files are never written to."""
        path = folder / "state.json"
        try:
            about = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise BundleError(f"{path}: not a readable state: {error}") from None
        state = cls(catalogue, history=about["history"], history_events=about["history_events"], keys=about["keys"])
        for i, entry in enumerate(about["folds"]):
            fold = build("state.fold", entry, f"{path}: folds[{i}]")
            for name in learned(fold):
                setattr(fold, name, _writable(folder / f"fold.{i}.{name}.npy"))
            state._keep(fold)
        for i, entry in enumerate(about.get("within", [])):
            fold = build("state.fold", entry, f"{path}: within[{i}]")
            whole, rows = _whole(fold, state.folds)
            if rows is None:
                raise BundleError(f"{path}: within[{i}]: {fold.name} is part of no aggregate in it")
            state._within[fold.name] = Within(fold, whole.name, rows)
        for i, by in enumerate(about["slots"]):
            slots = state._slots[tuple(by)]
            slots.restore({name: _writable(folder / f"slots.{i}.{name}.npy") for name in slots.arrays()})
        ring = state._ring
        ring.restore({name: _writable(folder / f"history.{name}.npy") for name in ring.arrays()})
        state._met = _writable(folder / "met.npy")
        state._previous = _writable(folder / "previous.npy")
        state.now, state.count, state._arrived = about["now"], about["count"], about["arrived"]
        return state


@njit(cache=True, nogil=True)
def _followed(previous: Array, users: Array, kept: Array, items: Array) -> Array:
    out = np.empty(len(users), dtype=np.int32)
    for i in range(len(users)):
        out[i] = previous[users[i]]
        if kept[i] >= 0:
            previous[users[i]] = items[i]
    return out


def _whole(fold: Fold, among: Mapping[str, Fold]) -> tuple[Fold, list[int] | None]:
    """The largest fold that has this one's readings among its own, and which they are; None where there is no other."""
    part_of: Callable[[Fold], list[int] | None] | None = getattr(fold, "part_of", None)
    best, found = fold, None
    if part_of is not None:
        place = {name: -i for i, name in enumerate(among)}  # of two with the same readings the first is the whole one
        for other in among.values():
            rows = part_of(other)
            size = len(other.readings()), place[other.name]
            if rows is not None and size > (len(best.readings()), place.get(best.name, -len(place))):
                best, found = other, rows
    return best, found


def _union(groups: Mapping[tuple[str, ...], list[Fold]]) -> tuple[str, ...]:
    """The kinds that any of them wants; none named = all."""
    return tuple(dict.fromkeys(itertools.chain.from_iterable(groups))) if all(groups) else ()


def _only(codes: Array, keep: Array | None) -> Array:
    """Codes where `keep` is true, -1 elsewhere: folds and the ring pass over those."""
    return codes if keep is None else np.where(keep, codes, codes.dtype.type(-1))


def _writable(path: Path) -> Array:
    """An array file mapped copy-on-write: changes stay in memory."""
    try:
        array: Array = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return np.array(load_array(path))
    return array.view(np.ndarray)
