"""Masks and frames against their definitions."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.core.batch import Batch
from shortlist.core.contracts import FitContext, Frame, Mask, split
from shortlist.core.rows import offsets_of
from tests.state.toys import toy_batch, toy_catalogue


@settings(max_examples=100)
@given(
    counts=st.lists(st.integers(0, 20), max_size=4),
    shared=st.one_of(st.none(), st.lists(st.booleans(), min_size=30, max_size=30)),
    bans=st.one_of(st.none(), st.lists(st.lists(st.integers(0, 39), max_size=8), min_size=4, max_size=4)),
    seed=st.integers(0, 100),
)
def test_mask_allows_what_is_shared_and_not_banned(
    counts: list[int], shared: list[bool] | None, bans: list[list[int]] | None, seed: int
) -> None:
    batch = toy_batch(counts, seed=seed)
    own = bans[: batch.n] if bans is not None else None
    mask = Mask(
        None if shared is None else np.array(shared),
        None if own is None else offsets_of(np.array([len(ban) for ban in own], dtype=np.int64)),
        None if own is None else np.array([item for ban in own for item in ban], dtype=np.int32),
    )
    expected = []
    for item, i in zip(batch.item.tolist(), batch.owner.tolist(), strict=True):
        inside = shared is None or (item < len(shared) and shared[item])
        expected.append(inside and (own is None or item not in own[i]))
    assert mask.allows(batch).tolist() == expected


def test_split_tells_numbers_from_categories_by_type() -> None:
    batch = toy_batch([3, 2]).with_columns(
        {
            "age": np.arange(5, dtype=np.float64),
            "group": np.arange(5, dtype=np.int32),
            "late": np.array([True, False, True, False, True]),
        }
    )
    features = ("group", "score", "late", "age", "item")
    numbers, categories, names_of_numbers, names_of_categories = split(batch, features)
    assert (names_of_numbers, names_of_categories) == (("score", "late", "age"), ("group", "item"))
    assert (str(numbers.dtype), str(categories.dtype)) == ("float32", "int32")
    assert numbers.tolist() == np.column_stack([batch.cand[name] for name in names_of_numbers]).tolist()
    assert categories.tolist() == np.column_stack([batch.cand[name] for name in names_of_categories]).tolist()
    frame = Frame(batch, np.zeros(5), np.ones(5), np.zeros(2), features)
    assert frame.matrix()[0].tobytes() == numbers.tobytes()
    nothing = split(Batch.of(np.zeros(0), np.zeros(1)), ())
    assert (nothing[0].shape, nothing[1].shape) == ((0, 0), (0, 0))


def test_fit_context_resolves_kinds() -> None:
    context = FitContext(toy_catalogue(), positive=("buy",))
    assert context.kinds(()).tolist() == [1]
    assert context.kinds(("view", "click")).tolist() == [2, 0]
