"""The state: what may be known as of the last event folded in. `apply` is the ONE way forward, offline and online."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shortlist.core.batch import Array, Batch, Columns
from shortlist.core.component import build, config, learned, load_array, save_array
from shortlist.core.contracts import Fold, History
from shortlist.core.errors import BundleError, ConfigError, DataError, choices
from shortlist.data.catalogue import Catalogue
from shortlist.state.history import Ring
from shortlist.state.keys import Codes, Hashed, pack

NEVER = -(2**62)
BLOCK = 1 << 15  # events per pass: the columns of a block stay in cache while every fold reads them


class State:
    """Folds by name, the users' histories, and which items have been met."""

    def __init__(
        self,
        catalogue: Catalogue,
        folds: Iterable[Fold] = (),
        *,
        history: int = 512,
        history_events: Sequence[str] = (),
    ) -> None:
        """folds: aggregates to keep, equal ones once. history: newest events kept per user. history_events: the kinds
        that enter it (all when empty)."""
        self.catalogue = catalogue
        self.folds: dict[str, Fold] = {}
        self.now = NEVER
        self.count = 0  # events folded in: the log position
        self._slots: dict[tuple[str, ...], Codes | Hashed] = {}
        self._plan: dict[tuple[str, ...], dict[tuple[str, ...], list[Fold]]] = {}  # by key columns, then event kinds
        self._ring = Ring(history)
        self._history_events = tuple(history_events)
        catalogue.kind_codes(self._history_events, "history_events")
        self._met = np.zeros(1024, dtype=bool)
        self._arrived: dict[str, int] = {}  # highest code folded in, of users and of every context column
        for fold in folds:
            self._keep(fold)

    def _keep(self, fold: Fold) -> None:
        if fold.name in self.folds:
            return
        self._check(fold)
        self.folds[fold.name] = fold
        if fold.by not in self._slots:
            self._slots[fold.by] = Codes() if len(fold.by) < 2 else Hashed()
        self._plan.setdefault(fold.by, {}).setdefault(fold.event, []).append(fold)

    def _check(self, fold: Fold) -> None:
        """Refuse a fold by a key that the data cannot give."""
        if len(fold.by) > 2:
            raise ConfigError(f"{fold.name}: a key is made of at most two columns, got {len(fold.by)}")
        for name in fold.by:
            table, _, attribute = name.partition(".")
            if attribute and table in ("item", "user"):
                columns = self._table(table)
                if columns.column(attribute, fold.name).kind != "category":
                    raise ConfigError(
                        f"{fold.name}: key {name!r} is a {columns.column(attribute).kind} column; "
                        f"category columns: {choices(columns.of_kind('category'))}"
                    )
            elif name not in ("item", "user") and name not in self.catalogue.context:
                raise ConfigError(
                    f"{fold.name}: unknown key {name!r}; choices: item, user, item.<attribute>, user.<attribute>, "
                    f"context columns: {choices(self.catalogue.context)}"
                )
        self.catalogue.kind_codes(fold.event, fold.name)

    def _table(self, title: str) -> Any:
        return self.catalogue.items if title == "item" else self.catalogue.users

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
        for by, groups in self._plan.items():
            keys = self._event_keys(by, events)
            keep = [self._of_kinds(events["kind"], names) for names in groups]
            # All kinds get their slots in one pass in log order: slots, and whom a full table refuses, must not depend on
            # where blocks begin.
            slots = self._slots[by].add(_only(keys, _either(keep)))
            size = self._slots[by].size
            for one, folds in zip(keep, groups.values(), strict=True):
                own = _only(slots, one)
                for fold in folds:
                    fold.grow(size)
                    fold.update(own, events["time"], events["value"])
        users = _only(events["user"], self._of_kinds(events["kind"], self._history_events))
        self._ring.append(users, events["item"], events["time"], events["kind"])
        self._meet(events["item"])
        for name in ("user", *self.catalogue.context):
            if name in events:
                self._arrived[name] = max(self._arrived.get(name, -1), int(events[name].max()))
        self.now = max(self.now, int(events["time"].max()))
        self.count += len(events["time"])

    def _meet(self, items: Array) -> None:
        highest = int(items.max())
        if highest >= len(self._met):
            capacity = len(self._met)
            while capacity <= highest:  # doubling from a fixed start: the same whatever the blocks
                capacity *= 2
            met = np.zeros(capacity, dtype=bool)
            met[: len(self._met)] = self._met
            self._met = met
        self._met[items] = True

    def _of_kinds(self, kinds: Array, names: tuple[str, ...]) -> Array | None:
        """(e,) bool: events of these kinds; None for all of them."""
        if not names:
            return None
        codes = self.catalogue.kind_codes(names)
        if len(codes) == len(self.catalogue.kinds):
            return None
        table = np.zeros(128, dtype=bool)
        table[codes] = True
        keep: Array = table[kinds]
        return None if keep.all() else keep

    def _event_keys(self, by: tuple[str, ...], events: Columns) -> Array:
        size = len(events["time"])
        parts = []
        for name in by:
            table, _, attribute = name.partition(".")
            if attribute:
                parts.append(self._table(table).values(attribute, events[table]))
            else:
                parts.append(events[name] if name in events else np.full(size, -1, dtype=np.int32))
        return _joined(parts, size)

    def keys(self, by: Sequence[str], batch: Batch) -> Array:
        """(m,) int64 keys of a batch's candidate rows for aggregates by these columns; -1 where any is missing."""
        parts = []
        for name in by:
            table, _, attribute = name.partition(".")
            if table == "item":
                codes = batch.item
            elif table == "user":
                codes = batch.user
            else:
                codes = batch.req.get(name, np.full(batch.n, -1, dtype=np.int32))
            values = self._table(table).values(attribute, codes) if attribute else codes
            parts.append(values if table == "item" else batch.spread(values))
        return _joined(parts, batch.m)

    def read(self, aggregate: str, keys: Array, time: Array) -> Array:
        """An aggregate, by name, of (r,) keys at (r,) or (1,) unix seconds: (r,) float64."""
        fold = self.folds.get(aggregate)
        if fold is None:
            raise ConfigError(f"no aggregate {aggregate!r} in the state; it keeps: {choices(self.folds)}")
        slots = self._slots[fold.by].find(np.ascontiguousarray(keys, dtype=np.int64))
        return fold.read(slots, np.ascontiguousarray(time, dtype=np.int64).reshape(-1), self.now)

    def scan(self, aggregate: str, size: int, time: int) -> Array:
        """An aggregate of all codes below `size` at one moment: (size,) float32. For sources that rank the whole catalogue."""
        fold = self.folds.get(aggregate)
        if fold is not None and hasattr(fold, "scan"):
            scanned: Array = fold.scan(size, time, self.now)
            return scanned
        every = np.arange(size, dtype=np.int64)
        return self.read(aggregate, every, np.array([time], dtype=np.int64)).astype(np.float32)

    def history(self, users: Array, last: int = 0) -> History:
        """What each of (n,) users did: the newest `last` events, 0 = all that are kept (`history` at most)."""
        return self._ring.read(users, last)

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

    def snapshot(self, folder: Path) -> None:
        """Write the state as plain arrays and one JSON description into a new folder."""
        folder.mkdir(parents=True, exist_ok=True)
        about: dict[str, Any] = {
            "now": self.now,
            "count": self.count,
            "arrived": self._arrived,
            "history": self._ring.length,
            "history_events": list(self._history_events),
            "folds": [config(fold) for fold in self.folds.values()],
            "slots": [list(by) for by in self._slots],
        }
        for i, fold in enumerate(self.folds.values()):
            for name in learned(fold):
                save_array(folder / f"fold.{i}.{name}.npy", getattr(fold, name))
        for i, slots in enumerate(self._slots.values()):
            for name, array in slots.arrays().items():
                save_array(folder / f"slots.{i}.{name}.npy", array)
        for name, array in self._ring.arrays().items():
            save_array(folder / f"history.{name}.npy", array)
        save_array(folder / "met.npy", self._met)
        (folder / "state.json").write_text(json.dumps(about, indent=1))

    @classmethod
    def load(cls, folder: Path, catalogue: Catalogue) -> State:
        """Read a snapshot. Arrays are mapped copy-on-write: opening is instant, and the files are never written to."""
        path = folder / "state.json"
        try:
            about = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise BundleError(f"{path}: not a readable state: {error}") from None
        state = cls(catalogue, history=about["history"], history_events=about["history_events"])
        for i, entry in enumerate(about["folds"]):
            fold = build("state.fold", entry, f"{path}: folds[{i}]")
            for name in learned(fold):
                setattr(fold, name, _writable(folder / f"fold.{i}.{name}.npy"))
            state._keep(fold)
        for i, by in enumerate(about["slots"]):
            slots = state._slots[tuple(by)]
            slots.restore({name: _writable(folder / f"slots.{i}.{name}.npy") for name in slots.arrays()})
        ring = state._ring
        ring.restore({name: _writable(folder / f"history.{name}.npy") for name in ring.arrays()})
        state._met = _writable(folder / "met.npy")
        state.now, state.count, state._arrived = about["now"], about["count"], about["arrived"]
        return state


def _joined(parts: list[Array], length: int) -> Array:
    """Code columns as one key each: none = one key for everything."""
    if not parts:
        return np.zeros(length, dtype=np.int64)
    return parts[0].astype(np.int64) if len(parts) == 1 else pack(parts[0], parts[1])


def _either(keep: list[Array | None]) -> Array | None:
    """Rows that any of the masks keeps; a mask of None keeps all."""
    union = keep[0]
    for mask in keep:
        if mask is None or union is None:
            return None
        union = union | mask
    return union


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
