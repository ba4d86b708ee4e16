"""The log: events in order, as columns. The order of the log is the truth, also where times are tied or late."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shortlist.core.batch import Array, Columns
from shortlist.core.component import load_array, save_array
from shortlist.core.rows import kind_table


@dataclass(frozen=True)
class Log:
    """columns: `user`, `item` int32 codes; `time` int64 unix seconds; `kind` int8; `value` float32 (NaN = none); and, where
    the data have them, `request` int32, `position` int32, `propensity` float32 and context columns under their own names.
    All have the same length. A slice of a log shares its memory."""

    columns: Columns

    def __len__(self) -> int:
        return len(self.columns["time"])

    @property
    def user(self) -> Array:
        """(events,) int32 user codes."""
        return self.columns["user"]

    @property
    def item(self) -> Array:
        """(events,) int32 item codes."""
        return self.columns["item"]

    @property
    def time(self) -> Array:
        """(events,) int64 unix seconds."""
        return self.columns["time"]

    @property
    def kind(self) -> Array:
        """(events,) int8 event-kind codes."""
        return self.columns["kind"]

    def slice(self, start: int, stop: int) -> Log:
        """Events by log position, as views."""
        return Log({name: column[start:stop] for name, column in self.columns.items()})

    def take(self, rows: Array) -> Log:
        """Events by index or mask, copied."""
        return Log({name: column[rows] for name, column in self.columns.items()})

    def of_kinds(self, kinds: Array) -> Log:
        """Only events of these kinds (codes), copied unless that is all of them."""
        keep = kind_table(kinds)[self.kind]
        return self if keep.all() else self.take(keep)

    def position(self, time: int) -> int:
        """How many events come before a moment: the log position of the first event at or after it. Needs a sorted log."""
        return int(np.searchsorted(self.time, time, side="left"))

    def before(self, time: int) -> Log:
        """The events before a moment, as views."""
        return self.slice(0, self.position(time))

    def save(self, folder: Path) -> None:
        """Write one `.npy` file per column."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, column in self.columns.items():
            save_array(folder / f"{name}.npy", column)

    @classmethod
    def load(cls, folder: Path) -> Log:
        """Memory-map what `save` wrote."""
        return cls({path.stem: load_array(path) for path in sorted(folder.glob("*.npy"))})
