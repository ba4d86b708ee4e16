import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.core.rng import rng
from shortlist.state.keys import EMPTY, Codes, Hashed, pack


def test_pack_is_one_key_per_pair() -> None:
    most = 2**31 - 1
    first, second = np.array([0, 0, 1, most, most, -1, 3]), np.array([0, 1, 0, most, 0, 3, -1])
    keys = pack(first.astype(np.int32), second.astype(np.int32))
    assert keys.dtype == np.int64
    assert keys.tolist() == [0, 1, 1 << 32, (most << 32) | most, most << 32, -1, -1]


@settings(max_examples=60)
@given(st.lists(st.lists(st.integers(-1, 60), max_size=40), max_size=6), st.integers(0, 30))
def test_hashed_equals_a_dict(batches: list[list[int]], limit: int) -> None:
    """Slots in order of arrival; a new key past the limit gets none, and is counted every time it comes."""
    table, slots, refused = Hashed(limit), dict[int, int](), 0
    for batch in batches:
        expected = []
        for key in batch:
            if key >= 0 and key not in slots:
                if len(slots) < limit:
                    slots[key] = len(slots)
                else:
                    refused += 1
            expected.append(slots.get(key, -1))
        assert table.add(np.array(batch, dtype=np.int64)).tolist() == expected
    assert table.size == len(slots)
    assert table.refused == refused
    asked = np.arange(-1, 70)
    assert table.find(asked).tolist() == [slots.get(key, -1) for key in asked.tolist()]


def test_hashed_grows_and_keeps_every_slot() -> None:
    draw = rng(0, "hashed")
    keys = pack(draw.integers(0, 300, 20_000).astype(np.int32), draw.integers(0, 300, 20_000).astype(np.int32))
    slots: dict[int, int] = {}
    expected = [slots.setdefault(key, len(slots)) for key in keys.tolist()]
    table = Hashed()
    assert table.add(keys).tolist() == expected
    assert table.size == len(slots) > 8 * 1024
    assert len(table.arrays()["keys"]) >= 2 * len(slots)
    assert table.find(keys).tolist() == expected
    assert table.find(pack(np.array([300]), np.array([0]))).tolist() == [-1]
    pieces = Hashed()
    for start in range(0, len(keys), 977):
        pieces.add(keys[start : start + 977])
    for name, array in table.arrays().items():
        assert pieces.arrays()[name].tobytes() == array.tobytes()


def test_hashed_comes_back_and_goes_on() -> None:
    table, again = Hashed(5), Hashed()
    table.add(np.array([7, 3, 9, 7, 1]))
    again.restore({name: array.copy() for name, array in table.arrays().items()})
    more = np.array([3, 100, 200, 300])
    assert again.add(more).tolist() == table.add(more).tolist() == [1, 4, -1, -1]
    assert (again.size, again.refused, again.limit) == (table.size, table.refused, table.limit) == (5, 2, 5)


@pytest.mark.parametrize("table", [Codes(), Hashed()])
def test_missing_keys_have_no_slot(table: Codes | Hashed) -> None:
    assert table.add(np.array([EMPTY, 2, EMPTY]))[[0, 2]].tolist() == [-1, -1]
    assert table.find(np.array([EMPTY])).tolist() == [-1]
    assert table.add(np.zeros(0, dtype=np.int64)).tolist() == []
    assert table.size == (3 if isinstance(table, Codes) else 1)
