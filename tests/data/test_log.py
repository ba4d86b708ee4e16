"""The log: slices, kinds, positions, files."""

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shortlist.data.log import Log


def make(times: list[int]) -> Log:
    size = len(times)
    return Log(
        {
            "user": np.arange(size, dtype=np.int32),
            "item": np.arange(size, dtype=np.int32) * 2,
            "time": np.array(sorted(times), dtype=np.int64),
            "kind": (np.arange(size) % 3).astype(np.int8),
            "value": np.full(size, np.nan, dtype=np.float32),
        }
    )


@given(st.lists(st.integers(0, 20)), st.integers(-1, 21))
def test_before_a_moment(times: list[int], cut: int) -> None:
    log = make(times)
    assert log.position(cut) == sum(time < cut for time in times)
    assert log.before(cut).time.tolist() == sorted(time for time in times if time < cut)


@given(st.lists(st.integers(0, 20)), st.sets(st.integers(0, 4)))
def test_of_kinds(times: list[int], kinds: set[int]) -> None:
    log = make(times)
    got = log.of_kinds(np.array(sorted(kinds), dtype=np.int8))
    assert got.user.tolist() == [i for i in range(len(times)) if i % 3 in kinds]
    assert got.item.tolist() == [2 * i for i in range(len(times)) if i % 3 in kinds]


def test_slices_share_memory() -> None:
    log = make(list(range(10)))
    assert np.shares_memory(log.slice(2, 5).user, log.user)
    assert len(log.slice(2, 5)) == 3


def test_saving_and_loading(tmp_path: Path) -> None:
    log = make([3, 1, 2])
    log.save(tmp_path)
    loaded = Log.load(tmp_path)
    assert set(loaded.columns) == set(log.columns)
    for name, column in log.columns.items():
        assert loaded.columns[name].dtype == column.dtype
        assert np.array_equal(loaded.columns[name], column, equal_nan=name == "value")
    loaded.user[0] = 77  # mapped copy-on-write: a change stays in memory
    assert np.array_equal(Log.load(tmp_path).user, log.user)
