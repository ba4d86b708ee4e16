"""First: against the earliest time in a plain list, late events and ties included."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shortlist.state.fold.first import First

EVENTS = st.lists(st.tuples(st.integers(-1, 4), st.integers(0, 50)), max_size=30)


@given(EVENTS, st.integers(0, 60), st.integers(0, 30))
def test_the_earliest_time_counts(events: list[tuple[int, int]], now: int, cut: int) -> None:
    fold = First(("item",))
    for part in (events[:cut], events[cut:]):
        slots = np.array([slot for slot, _ in part], dtype=np.int64)
        fold.update(slots, {"time": np.array([time for _, time in part], dtype=np.int64)})
    got = fold.read(np.arange(-1, 6), np.array([now]), now)
    assert got.shape == (1, 7)
    for slot in range(-1, 6):
        times = [time for own, time in events if own == slot >= 0]
        wanted = max(now - min(times), 0) if times else math.nan
        np.testing.assert_equal(got[0, slot + 1], wanted)
