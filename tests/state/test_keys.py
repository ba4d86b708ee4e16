from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.core.batch import Array
from shortlist.core.rng import rng
from shortlist.state.keys import EMPTY, SHARE, Codes, Hashed, columns_of, joined, pack
from shortlist.state.memory import PLACE


def test_pack_is_one_key_per_pair() -> None:
    most = 2**31 - 1
    first, second = np.array([0, 0, 1, most, most, -1, 3]), np.array([0, 1, 0, most, 0, 3, -1])
    keys = pack(first.astype(np.int32), second.astype(np.int32))
    assert keys.dtype == np.int64
    assert keys.tolist() == [0, 1, 1 << 32, (most << 32) | most, most << 32, -1, -1]


@pytest.mark.parametrize("columns", [0, 1, 2, 3, 4])
def test_joined_keys_are_equal_where_all_parts_are(columns: int) -> None:
    """And missing where one is; the order of the parts matters."""
    draw = rng(0, "joined", columns)
    parts = [draw.integers(-1, 7, 3000).astype(np.int32) for _ in range(columns)]
    keys = joined(parts, 3000)
    assert keys.dtype == np.int64
    rows: list[tuple[int, ...]] = list(zip(*(part.tolist() for part in parts), strict=True)) if parts else [()] * 3000
    by_row: dict[tuple[int, ...], int] = {}
    for row, key in zip(rows, keys.tolist(), strict=True):
        assert (key == -1) == (-1 in row)
        assert key >= -1
        if -1 not in row:
            assert by_row.setdefault(row, key) == key
    assert len(set(by_row.values())) == len(by_row) >= min(7**columns, 300)
    if columns > 1:
        assert joined(parts[::-1], 3000).tolist() != keys.tolist()


def test_keys_as_a_recipe_writes_them() -> None:
    assert columns_of("") == columns_of("  ") == ()
    assert columns_of("item") == ("item",)
    assert columns_of("user.age x item.genre x hour") == ("user.age", "item.genre", "hour")


class Model:
    """A hash table of bounded size in plain Python."""

    def __init__(self, limit: int) -> None:
        self.limit, self.slots, self.touched = limit, dict[int, int](), dict[int, int]()
        self.size, self.evicted, self.free = 0, 0, list[int]()

    def add(self, key: int, moment: int) -> tuple[int, list[int]]:
        """The key's slot, and the slots that were emptied to make room for it."""
        gone: list[int] = []
        if key < 0:
            return -1, gone
        if key not in self.slots:
            if len(self.slots) == self.limit:
                cold = sorted(self.slots, key=lambda one: (self.touched[one], self.slots[one]))
                for one in cold[: max(self.limit // SHARE, 1)]:
                    gone.append(self.slots.pop(one))
                self.evicted += len(gone)
                self.free = sorted(gone)
            if self.free:
                self.slots[key] = self.free.pop(0)
            else:
                self.slots[key] = self.size
                self.size += 1
        self.touched[key] = moment
        return self.slots[key], gone


def filled(table: Hashed, keys: list[int], first: int) -> tuple[list[int], list[list[int]]]:
    """Slots of keys, and what was evicted on the way, as a state does it."""
    slots: list[int] = []
    gone: list[list[int]] = []
    while len(slots) < len(keys):
        found, done = table.add(np.array(keys[len(slots) :], dtype=np.int64), first + len(slots))
        slots += found.tolist()
        assert done == len(found)
        if len(slots) < len(keys):
            gone.append(table.evict().tolist())
    return slots, gone


@settings(max_examples=150)
@given(
    st.lists(st.lists(st.integers(-1, 60), max_size=60), max_size=6),
    st.one_of(st.integers(1, 40), st.just(1000)),
)
def test_hashed_equals_a_dict(batches: list[list[int]], limit: int) -> None:
    """Slots in order of arrival; where the table is full, the keys that were longest without an event go first."""
    table, model, position = Hashed(limit), Model(limit), 0
    for batch in batches:
        added = [model.add(key, position + i) for i, key in enumerate(batch)]
        slots, gone = filled(table, batch, position)
        position += len(batch)
        assert slots == [slot for slot, _ in added]
        assert [sorted(one) for one in gone] == [sorted(one) for _, one in added if one]
    assert (table.size, table.evicted) == (model.size, model.evicted)
    asked = np.arange(-1, 70)
    assert table.find(asked).tolist() == [model.slots.get(key, -1) for key in asked.tolist()]


def test_hashed_grows_and_keeps_every_slot() -> None:
    keys = many_keys()
    slots: dict[int, int] = {}
    expected = [slots.setdefault(key, len(slots)) for key in keys.tolist()]
    table = Hashed()
    found, done = table.add(keys)
    assert (found.tolist(), done) == (expected, len(keys))
    assert table.size == len(slots) > 8 * 1024
    held = sum(array.nbytes for array in table.arrays().values())
    assert 12 / 0.7 + 8 <= held / len(slots) <= PLACE
    assert table.find(keys).tolist() == expected
    assert table.find(pack(np.array([300]), np.array([0]))).tolist() == [-1]


@pytest.mark.parametrize("limit", [100, 5000, 10**6])
def test_pieces_do_not_matter(limit: int) -> None:
    """To the bit: the table, who was evicted, and the slots that are free."""
    keys = many_keys().tolist()
    whole, pieces = Hashed(limit), Hashed(limit)
    expected, slots = filled(whole, keys, 0)[0], list[int]()
    for start in range(0, len(keys), 977):
        slots += filled(pieces, keys[start : start + 977], start)[0]
    assert slots == expected
    assert (whole.evicted > 0) == (limit < 10**6)
    same(whole, pieces)


def many_keys() -> Array:
    draw = rng(0, "hashed")
    return pack(draw.integers(0, 300, 20_000).astype(np.int32), draw.integers(0, 300, 20_000).astype(np.int32))


def same(one: Hashed, other: Hashed) -> None:
    for name, array in one.arrays().items():
        assert other.arrays()[name].tobytes() == array.tobytes(), name


def test_rows_say_which_event_a_key_is_of() -> None:
    """Keys of lists: those of one event are equally cold, whatever the length of the lists before."""
    table = Hashed(4)
    keys, rows = np.array([7, 8, 9, 5]), np.array([0, 0, 0, 3])
    assert table.add(keys, 10, rows)[1] == 4
    assert table.add(np.array([8]), 12)[1] == 1
    slots, done = table.add(np.array([6]), 13)
    assert (slots.tolist(), done) == ([], 0)
    assert table.evict().tolist() == [0]  # key 7: as cold as 9, and first
    assert table.find(np.array([7, 8, 9, 5])).tolist() == [-1, 1, 2, 3]
    assert table.add(np.array([6, 9]), 13)[0].tolist() == [0, 2]


def test_hashed_comes_back_and_goes_on() -> None:
    """Also between an eviction and the next new key, when slots are free."""
    table, again = Hashed(5), Hashed()
    filled(table, [7, 3, 9, 7, 1, 4], 0)
    table.add(np.array([8]), 6)
    table.evict()
    again.restore({name: array.copy() for name, array in table.arrays().items()})
    more: Any = [3, 100, 200, 300, 9]
    assert filled(again, more, 7) == filled(table, more, 7)
    assert (again.size, again.evicted, again.limit) == (table.size, table.evicted, table.limit)
    assert table.evicted >= 3
    same(table, again)


@pytest.mark.parametrize("table", [Codes(), Hashed()])
def test_missing_keys_have_no_slot(table: Codes | Hashed) -> None:
    assert table.add(np.array([EMPTY, 2, EMPTY]))[0][[0, 2]].tolist() == [-1, -1]
    assert table.find(np.array([EMPTY])).tolist() == [-1]
    slots, done = table.add(np.zeros(0, dtype=np.int64))
    assert (slots.tolist(), done) == ([], 0)
    assert table.size == (3 if isinstance(table, Codes) else 1)
    assert table.evicted == 0
