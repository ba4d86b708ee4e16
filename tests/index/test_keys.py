import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.index.keys import bits_of, cut, finish, item_of, pack

SCORES = st.floats(allow_nan=False, width=32) | st.sampled_from([0.0, -0.0, 1.0, -1.0])


@settings(max_examples=60)
@given(st.lists(SCORES, min_size=2, max_size=40), st.integers(1, 39))
def test_keys_order_by_score_then_item_and_give_both_back(scores: list[float], k: int) -> None:
    values = np.array(scores, dtype=np.float32)
    bits = values.view(np.uint32)
    keys = np.array([pack(bits[item], values[item], item) for item in range(len(values))], dtype=np.uint64)
    best = sorted(range(len(values)), key=lambda item: (-values[item], item))
    assert [int(item_of(key)) for key in sorted(keys, reverse=True)] == best
    back = np.array([bits_of(key) for key in keys], dtype=np.uint32).view(np.float32)
    np.testing.assert_array_equal(back, values)  # -0.0 equals 0.0, which it comes back as
    ordered = keys.copy()
    count = finish(ordered, len(keys), k)
    assert [int(item_of(key)) for key in ordered[:count][::-1]] == best[:k]
    if k < len(keys):
        some = keys.copy()
        assert int(item_of(np.uint64(cut(some, len(keys), k)))) == best[k - 1]
        assert sorted(int(item_of(key)) for key in some[:k]) == sorted(best[:k])
