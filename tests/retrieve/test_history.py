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


def test_what_ends_and_what_falls_due() -> None:
    """Clicks until a purchase, and the same with a cycle of a day, in plain loops over every user's events of every item."""
    plain = History(half_life="", event=("click",), until=("purchase",))
    due = History(half_life="", event=("click",), until=("purchase",), cycle="1d")
    state = slow.ready(plain)
    slow.ready(due)
    small = slow.small()
    batch = small.requests(20)
    answers = [part.retrieve(batch, state, 100, None) for part in (plain, due)]
    click, purchase = (small.catalogue.kinds.code(kind) for kind in ("click", "purchase"))
    ended = repeated = 0
    for i, user in enumerate(batch.user.tolist()):
        clicks: dict[int, list[int]] = {}
        for who, item, kind, time in zip(
            *(small.log.columns[name].tolist() for name in ("user", "item", "kind", "time")), strict=True
        ):
            if who == user and kind == click:
                clicks.setdefault(item, []).append(time)
            if who == user and kind == purchase:
                ended += item in clicks
                clicks.pop(item, None)
        wanted: list[dict[int, float]] = [{}, {}]
        for item, times in clicks.items():
            repeated += len(times) > 1
            gap, since = (86_400 + max(times) - min(times)) / len(times), int(batch.time[i]) - max(times)
            wanted[0][item] = len(times)
            wanted[1][item] = len(times) * min(since / gap, gap / since)
        for hits, own in zip(answers, wanted, strict=True):
            count = int((hits.items[i] >= 0).sum())
            got = dict(zip(hits.items[i, :count].tolist(), hits.scores[i, :count].tolist(), strict=True))
            assert got == pytest.approx(own, rel=1e-5)
    assert ended > 5
    assert repeated > 5


def test_a_kind_cannot_begin_and_end() -> None:
    with pytest.raises(ConfigError, match=r"history.until: 'click' is also in event"):
        told(History(until=("click", "purchase")), slow.small().ctx)


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
