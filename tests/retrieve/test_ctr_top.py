"""ctr_top: against rates over the plain list of events."""

from collections.abc import Sequence

import numpy as np
import pytest

from shortlist.core.batch import Array, Batch
from shortlist.core.contracts import FitContext, Mask
from shortlist.core.errors import ConfigError
from shortlist.data.dataset import from_frames
from shortlist.retrieve.ctr_top import CtrTop
from shortlist.state.state import State
from shortlist.testing.suite import told
from tests.retrieve import slow

HOUR, DAY = 3600, 86_400


def rates(now: int, event: Sequence[str], over: Sequence[str], prior: float, life: float, weigh: bool) -> Array:
    """(items,) the definition, event by event; NaN for items that were never shown."""
    world = slow.small()
    size = len(world.catalogue.items)
    above, below = np.zeros(size), np.zeros(size)
    columns = (world.log.item, world.log.time, world.log.kind, world.log.columns["value"])
    for item, time, kind, value in zip(*(column.tolist() for column in columns), strict=True):
        weight = 0.5 ** ((now - time) / life)
        name = world.catalogue.kinds.name(kind)
        if name in event:
            above[item] += weight * ((0.0 if np.isnan(value) else value) if weigh else 1.0)
        if name in over:
            below[item] += weight
    base = above.sum() / below.sum()
    out = np.full(size, np.nan)
    for item in range(size):
        if below[item] > 0:
            out[item] = (above[item] + prior * base) / (below[item] + prior)
    return out


def test_smoothed_rates() -> None:
    part = CtrTop(prior=7.0)
    state = slow.ready(part)
    wanted = rates(state.now, ["click"], ["impression"], 7.0, np.inf, False)
    for row in slow.full_rows(part, state, slow.small().requests(3)):
        np.testing.assert_allclose(row, wanted, rtol=1e-6)
    items = part.retrieve(slow.small().requests(2), state, 60, None).items[0]
    assert items[items >= 0].tolist() == slow.best(wanted.astype(np.float32), 60)


def test_value_per_impression_decayed_as_of_each_request() -> None:
    part = CtrTop(event=("purchase",), half_life="1d", prior=3.0, weigh=True)
    state = slow.ready(part)
    asked = slow.small().requests(4)
    batch = Batch({**asked.req, "time": asked.time + np.array([-HOUR, HOUR, DAY, 3 * DAY])}, asked.offsets, asked.cand)
    got = slow.full_rows(part, state, batch)
    for i in range(4):
        now = max(int(batch.time[i]), state.now)
        np.testing.assert_allclose(got[i], rates(now, ["purchase"], ["impression"], 3.0, DAY, True), rtol=1e-5)
    assert not np.array_equal(got[1], got[3])  # evidence fades towards the overall rate


def seen_and_taken(shown: dict[str, int], taken: dict[str, int]) -> tuple[CtrTop, State, FitContext]:
    """A world of one user and as many impressions and clicks of each item as said."""
    kinds = [("impression", item) for item, count in shown.items() for _ in range(count)]
    kinds += [("click", item) for item, count in taken.items() for _ in range(count)]
    events = {
        "user_id": ["u"] * len(kinds), "item_id": [item for _, item in kinds], "time": list(range(len(kinds))),
        "event": [kind for kind, _ in kinds],
    }  # fmt: skip
    data = from_frames(events)
    ctx = FitContext(data.catalogue, ("click",), now=len(kinds))
    part = CtrTop(prior=20.0)
    state = State(data.catalogue, told(part, ctx))
    state.apply(data.log.columns)
    part.fit(data.log, ctx)
    return part, state, ctx


def test_one_lucky_impression_is_no_rate() -> None:
    """One view and one click stay behind three hundred views and a hundred clicks."""
    part, state, ctx = seen_and_taken({"lucky": 1, "good": 300, "bad": 600}, {"lucky": 1, "good": 100, "bad": 20})
    names = ctx.catalogue.items.ids.names(
        part.retrieve(Batch.of(np.array([0]), np.array(2000)), state, 3, None).items[0]
    )
    assert list(names) == ["good", "lucky", "bad"]


def test_what_was_never_shown_is_not_returned() -> None:
    part, state, ctx = seen_and_taken({"shown": 10}, {"shown": 1, "unseen": 5})
    hits = part.retrieve(Batch.of(np.array([0]), np.array(2000)), state, 2, None)
    assert hits.items[0].tolist() == [ctx.catalogue.items.ids.codes(["shown"])[0], -1]
    part.least = 11
    assert part.retrieve(Batch.of(np.array([0]), np.array(2000)), state, 2, Mask()).items[0].tolist() == [-1, -1]


def test_data_without_impressions_are_refused() -> None:
    data = from_frames({"user_id": ["u"], "item_id": ["i"], "time": [1], "event": ["click"]})
    with pytest.raises(ConfigError, match=r"ctr_top.over: unknown event kind 'impression'; the data have: click"):
        CtrTop().folds(FitContext(data.catalogue, ("click",), now=2))
