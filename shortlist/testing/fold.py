"""What every fold must hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from shortlist.core.batch import Array, Columns
from shortlist.data.log import Log
from shortlist.state.state import State
from shortlist.testing.suite import PartSuite, frozen


class FoldSuite(PartSuite):
    """Events may come in any pieces, and a key reads the same whatever happened to others."""

    kind: ClassVar[str] = "state.fold"

    def events(self) -> Columns:
        """What is folded in."""
        return self.world().log.columns

    def folded(self, chunk: int = 0) -> State:
        """A state that keeps the part alone, moved over all events, `chunk` at a time."""
        state = State(self.world().catalogue, (self.part(),))
        log = Log(self.events())
        for start in range(0, len(log), chunk or len(log)):
            state.apply(log.slice(start, start + (chunk or len(log))).columns)
        return state

    def reading(self, state: State, times: Array | None = None) -> Array:
        """The aggregate of every key that there may be, and of one that there is not."""
        keys = np.arange(-1, 200, dtype=np.int64)
        if len(self.part().by) == 2:
            first = np.arange(100, dtype=np.int64)
            keys = np.concatenate([(first << 32) | second for second in range(70)] + [np.array([-1])])
        when = times if times is not None else np.array([self.world().ctx.now + 60])
        out = state.read(self.part().name, keys, when)
        assert out.shape == (len(self.part().readings()), *keys.shape)
        assert out.dtype == np.float64
        return out

    def test_chunks_do_not_matter(self) -> None:
        """Folded in one by one, in uneven pieces or at once, it reads the same, to the bit."""
        whole = self.reading(self.folded())
        assert len(np.unique(whole[np.isfinite(whole)])) > 1, "reads the same for every key: the check says nothing"
        for chunk in (1, 7, 1000):
            np.testing.assert_array_equal(self.reading(self.folded(chunk)), whole)

    def test_snapshot(self, tmp_path: Path) -> None:
        """Written, read back and moved on, it is as if it had never stopped."""
        log, state = Log(self.events()), State(self.world().catalogue, (self.part(),))
        half = len(log) // 2
        state.apply(log.slice(0, half).columns)
        state.snapshot(tmp_path)
        again = State.load(tmp_path, self.world().catalogue)
        np.testing.assert_array_equal(self.reading(again), self.reading(state))
        again.apply(log.slice(half, len(log)).columns)
        np.testing.assert_array_equal(self.reading(again), self.reading(self.folded()))

    def test_other_keys_do_not_matter(self) -> None:
        """A key reads the same asked alone and among others, in any order."""
        state = self.folded()
        part: Any = self.part()
        keys = np.arange(0, 40, dtype=np.int64) if len(part.by) == 1 else (np.arange(0, 40, dtype=np.int64) << 32) | 3
        when = np.array([self.world().ctx.now + 60])
        together = state.read(part.name, keys, when)
        np.testing.assert_array_equal(state.read(part.name, keys[::-1].copy(), when), together[:, ::-1])
        for i in range(len(keys)):
            np.testing.assert_array_equal(state.read(part.name, keys[i : i + 1], when), together[:, i : i + 1])

    def test_one_time_or_one_per_key(self) -> None:
        """A single reading time means that time for every key."""
        state = self.folded()
        now = self.world().ctx.now + 3600
        one = self.reading(state, np.array([now]))
        np.testing.assert_array_equal(self.reading(state, np.full(one.shape[1], now)), one)

    def test_reading_changes_nothing(self) -> None:
        """Reading, also far ahead, leaves the state as it was."""
        state = self.folded()
        before = self.reading(state)
        self.reading(state, np.array([self.world().ctx.now + 10**8]))
        np.testing.assert_array_equal(self.reading(state), before)

    def test_inputs_are_not_changed(self) -> None:
        """The events are only read."""
        state = State(self.world().catalogue, (self.part(),))
        state.apply(frozen(self.events()))
        np.testing.assert_array_equal(self.reading(state), self.reading(self.folded()))

    def test_late_events(self) -> None:
        """An event that comes late is no error, and time does not run backwards."""
        state = self.folded()
        now = state.now
        late = {name: column[:5].copy() for name, column in self.events().items()}
        state.apply(late)
        assert state.now == now
        assert self.reading(state).shape == self.reading(self.folded()).shape

    def test_a_cleared_slot_is_new(self) -> None:
        """What an evicted key leaves behind is nothing, and its slot may be given to another."""
        state = self.folded()
        fold = state.folds[self.part().name]
        every = np.arange(4096, dtype=np.int64)
        when = np.array([self.world().ctx.now + 60])
        unknown = fold.read(np.full(len(every), -1), when, state.now)
        assert (fold.read(every, when, state.now) != unknown).any(), "no key was ever met: the check says nothing"
        fold.clear(every)
        np.testing.assert_array_equal(fold.read(every, when, state.now), unknown)

    def test_memory_of_a_slot(self) -> None:
        """Stated, so that a recipe can be told what it will need."""
        assert self.part().bytes() > 0

    def test_learned_arrays_are_plain(self) -> None:
        """What is kept can be saved without running code to load it."""
        state = self.folded()
        arrays = [value for value in vars(state.folds[self.part().name]).values() if isinstance(value, np.ndarray)]
        assert arrays
        assert not any(array.dtype.hasobject for array in arrays)
