"""The interaction matrix, against plain loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.data.log import Log
from shortlist.data.matrix import interactions, numbered

EVENTS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 50)), max_size=30)


@pytest.mark.parametrize("counts", [False, True])
@pytest.mark.parametrize("half_life", [0.0, 10.0])
@given(events=EVENTS)
def test_against_loops(events: list[tuple[int, int, int]], counts: bool, half_life: float) -> None:
    events = sorted(events, key=lambda event: event[2])
    user, item, time = (np.array([event[i] for event in events], dtype=np.int64) for i in range(3))
    got = interactions(
        Log({"user": user, "item": item, "time": time}), 4, 5, counts=counts, half_life=half_life, now=60
    )
    want = np.zeros((4, 5))
    for u, i, t in events:
        weight = 0.5 ** ((60 - t) / half_life) if half_life else 1.0
        want[u, i] = want[u, i] + weight if counts else weight
    assert got.dtype == np.float32
    assert got.has_canonical_format
    np.testing.assert_allclose(got.toarray(), want, rtol=1e-6)


@pytest.mark.parametrize(("user", "item"), [(4, 0), (0, 5)])
def test_a_code_beyond_the_matrix_is_refused(user: int, item: int) -> None:
    log = Log({"user": np.array([0, user]), "item": np.array([0, item]), "time": np.zeros(2, dtype=np.int64)})
    with pytest.raises(ValueError, match="beyond 4 users or 5 items"):
        interactions(log, 4, 5)


@given(codes=st.lists(st.integers(0, 40), max_size=30))
def test_numbers_of_codes(codes: list[int]) -> None:
    known, places = numbered(np.array(codes, dtype=np.int32))
    wanted = sorted(set(codes))
    assert known.tolist() == wanted
    assert known.dtype == places.dtype == np.int32
    assert places.tolist() == [wanted.index(code) for code in codes]
