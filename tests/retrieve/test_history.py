"""History: against sums over the plain list of events; and the evidence that all personal sources share."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.core.contracts import History as Kept
from shortlist.core.errors import ConfigError
from shortlist.retrieve._evidence import _distinct, flags
from shortlist.retrieve.history import History
from shortlist.testing.suite import told
from tests.retrieve import slow


@pytest.mark.parametrize("half_life", ["", "2d"])
def test_repeats(half_life: str) -> None:
    part = History(half_life=half_life, event=("click", "purchase"), weights={"purchase": 3.0})
    state = slow.ready(part)
    batch = slow.small().requests(20)
    hits = part.retrieve(batch, state, 100, None)
    found = 0
    for i, user in enumerate(batch.user.tolist()):
        wanted: dict[int, float] = {}
        for kind, weight in (("click", 1.0), ("purchase", 3.0)):
            for who, item, time in slow.events(kind):
                if who == user:
                    age = int(batch.time[i]) - time
                    wanted[item] = wanted.get(item, 0.0) + weight * (0.5 ** (age / 172_800) if half_life else 1.0)
        count = int((hits.items[i] >= 0).sum())
        found += count
        got = dict(zip(hits.items[i, :count].tolist(), hits.scores[i, :count].tolist(), strict=True))
        assert got == pytest.approx(wanted, rel=1e-5)
    assert found > 50


def test_a_kind_that_weighs_nothing_is_no_candidate() -> None:
    part = History(event=("click", "purchase"), weights={"click": 0})
    state = slow.ready(part)
    batch = slow.small().requests(20)
    hits = part.retrieve(batch, state, 100, None)
    for i, user in enumerate(batch.user.tolist()):
        assert set(hits.items[i].tolist()) - {-1} == set(slow.recent(user, kind="purchase"))


def test_weights_are_checked() -> None:
    ctx = slow.small().ctx
    with pytest.raises(ConfigError, match=r"history.weights: 'purchase' is not among"):
        told(History(weights={"purchase": 2.0}), ctx)
    with pytest.raises(ConfigError, match=r"history.weights.click: -1 is not a weight"):
        told(History(weights={"click": -1}), ctx)
    with pytest.raises(ConfigError, match="unknown event kind 'klick'"):
        told(History(event=("klick",)), ctx)


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 2)), max_size=20), max_size=4),
    st.integers(0, 5),
    st.sampled_from([0.0, 0.5, 1.0]),
)
def test_evidence_is_the_newest_distinct_items(users: list[list[tuple[int, int]]], last: int, decay: float) -> None:
    flat = [event for user in users for event in user]
    offsets = np.cumsum([0, *map(len, users)])
    items = np.array([item for item, _ in flat], dtype=np.int32)
    kinds = np.array([kind for _, kind in flat], dtype=np.int8)
    kept = Kept(offsets, items, np.zeros(len(flat), dtype=np.int64), kinds, np.zeros(len(flat), dtype=np.float32))
    got = _distinct(kept.offsets, kept.items, kept.kinds, flags(np.array([0, 2])), last, decay)
    for i, user in enumerate(users):
        wanted = list(dict.fromkeys(item for item, kind in reversed(user) if kind != 1))
        wanted = wanted[:last] if last else wanted
        row = slice(got[0][i], got[0][i + 1])
        assert got[1][row].tolist() == wanted
        np.testing.assert_allclose(got[2][row], [decay**place for place in range(len(wanted))])
