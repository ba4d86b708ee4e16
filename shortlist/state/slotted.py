"""What folds share: arrays with one entry per slot, that grow with their number, and a name made of their parameters."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from shortlist.core.batch import Array
from shortlist.core.component import param, parameters

SMALLEST = 1024  # first capacity


def longer(array: Array, size: int, fill: float = 0) -> Array:
    """The array with room for `size` rows, new ones holding `fill`; itself where it has that. It grows by an eighth from a fixed
    start, so the capacity follows from the size alone, not from how the log was cut into pieces; an array is copied eight times
    on its way, and a sixteenth of it is room, where doubling would leave a third."""
    capacity = len(array)
    if capacity >= size:
        return array
    while capacity < size:
        capacity += max(capacity // 8, 1)
    grown = np.full((capacity, *array.shape[1:]), fill, dtype=array.dtype)
    grown[: len(array)] = array
    return grown


def slots(doc: str, dtype: type[np.generic], fill: float) -> Any:
    """A fold's array with one entry per slot; new slots hold `fill`."""
    about = {"fitted": True, "doc": doc, "slots": (np.dtype(dtype), fill)}
    return dataclasses.field(default=None, init=False, repr=False, compare=False, metadata=about)


@dataclass
class Slotted:
    """A fold whose state is arrays over slots. Subclasses add fields made by `slots`, and `update` and `read`."""

    by: tuple[str, ...] = param(
        ("item",),
        "its key: item, user, item.<attribute>, user.<attribute>, a context column, last (the user's item before), "
        "last.<attribute>, hour, weekday; several of them; or none",
    )
    event: tuple[str, ...] = param((), "event kinds to fold")
    _room = 0  # slots that there is room for; no field

    def __post_init__(self) -> None:
        self.by, self.event = tuple(self.by), tuple(dict.fromkeys(self.event))
        self.grow(SMALLEST)

    @property
    def name(self) -> str:
        """The aggregate's name in the state: the class and every parameter, so that equal folds are kept once."""
        values = ", ".join(f"{field.name}={_text(getattr(self, field.name))}" for field in parameters(self))
        return f"{type(self).__name__.lower()}({values})"

    @property
    def kinds(self) -> tuple[str, ...]:
        """The event kinds that `update` is handed; all when empty."""
        return self.event

    def readings(self) -> tuple[str, ...]:
        """What reading gives, one name per row; "" for a single reading that needs none."""
        return ("",)

    def bind(self, catalogue: Any) -> None:
        """Called when a state takes the fold in: event kinds have codes now."""

    def width(self) -> int:
        """Entries per slot: 0 for plain arrays, else the second dimension of every slot array."""
        return 0

    def is_wide(self, name: str) -> bool:
        """Does this slot array have a second dimension (of `width()` entries)?"""
        return True

    def grow(self, size: int) -> None:
        """Make room for slots below `size`."""
        if size <= self._room:  # asked for with every event
            return
        for field in _slot_fields(self):
            dtype, fill = field.metadata["slots"]
            array: Array | None = getattr(self, field.name)
            if array is None:
                shape = (SMALLEST, self.width()) if self.width() and self.is_wide(field.name) else (SMALLEST,)
                array = np.full(shape, fill, dtype=dtype)
            setattr(self, field.name, longer(array, size, fill))
        self._room = max(self._room, min(len(getattr(self, field.name)) for field in _slot_fields(self)))

    def fill(self, slots: Array, times: Array, now: int, out: Array) -> None:
        """What `read` gives, into `out` (readings, r) of any float type: what the state calls for a batch. A fold that writes its
        readings itself, and so spares a copy, is `Filled`."""
        out[:] = self.read(slots, times, now)

    def read(self, slots: Array, times: Array, now: int) -> Array:
        """(readings, r) float64 at times (r,) or (1,); slot -1: never met."""
        raise NotImplementedError(f"{type(self).__name__} has no read")

    def clear(self, slots: Array) -> None:
        """Make slots new again: their keys were evicted."""
        for field in _slot_fields(self):
            array = getattr(self, field.name)
            array[slots[slots < len(array)]] = field.metadata["slots"][1]

    def bytes(self) -> int:
        """Memory of one slot."""
        total = 0
        for field in _slot_fields(self):
            array = getattr(self, field.name)
            total += array.itemsize * (array.shape[1] if array.ndim > 1 else 1)
        return total


@dataclass
class Filled(Slotted):
    """A fold whose definition of reading is `fill`: a kernel that writes every cell of `out`, worked out as float64 and
    rounded once if `out` is narrower. `read` is the same, handed out. Many also have an `entry`, the same as compiled code may call it:
    a function and the names of the fields that it is told of (see `compiled`)."""

    def fill(self, slots: Array, times: Array, now: int, out: Array) -> None:
        """Readings at times (r,) or (1,) into `out` (readings, r); slot -1: never met."""
        raise NotImplementedError(f"{type(self).__name__} has no fill")

    def read(self, slots: Array, times: Array, now: int) -> Array:
        """(readings, r) float64, what `fill` writes."""
        out = np.empty((len(self.readings()), len(slots)))
        self.fill(slots, times, now, out)
        return out


def _slot_fields(part: Any) -> list[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(part) if "slots" in field.metadata]


def _text(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
