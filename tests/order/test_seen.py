from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.core.component import build, load, save
from shortlist.core.contracts import FitContext
from shortlist.core.errors import ConfigError
from shortlist.data.log import Log
from shortlist.order.seen import Seen
from shortlist.state.state import State
from tests.order.checks import filter_keep
from tests.state.toys import KINDS, events, toy_batch, toy_catalogue, toy_events


@settings(max_examples=40)
@given(
    kinds=st.sets(st.sampled_from(KINDS)),
    within=st.sampled_from(["", "1s", "3h", "1d"]),
    seed=st.integers(0, 1000),
    counts=st.lists(st.integers(0, 30), max_size=5),
)
def test_equals_its_definition(kinds: set[str], within: str, seed: int, counts: list[int]) -> None:
    log = toy_events(150, seed=seed)
    state = State(toy_catalogue())
    state.apply(log)
    part = Seen(event=tuple(sorted(kinds)), within=within)
    part.fit(Log(log), FitContext(state.catalogue, positive=("buy",)))
    batch = toy_batch(counts, seed=seed, time=[100_000 + 5000 * i for i in range(len(counts))])
    length = {"": float("inf"), "1s": 1, "3h": 10800, "1d": 86400}[within]
    expected = []
    for request, item in zip(batch.owner, batch.item, strict=True):
        user, time = batch.user[request], batch.time[request]
        met = False
        for e in range(150):
            wanted = KINDS[log["kind"][e]] in (kinds or {"buy"})
            met |= wanted and log["user"][e] == user and log["item"][e] == item and time - log["time"][e] < length
        expected.append(not met)
    assert filter_keep(part, batch, state).tolist() == expected
    assert part.mask(batch, state).allows(batch).tolist() == expected


def test_forgets_what_has_left_the_history() -> None:
    state = State(toy_catalogue(), history=2)
    state.apply(events([1, 1, 1], [4, 5, 6], [10, 20, 30]))
    batch = toy_batch([40], time=100)
    batch.req["user"][:] = 1
    kept = batch.item[filter_keep(Seen(event=("click",)), batch, state)]
    assert sorted(set(range(40)) - set(kept.tolist())) == [5, 6]


def test_expires_at_the_very_second() -> None:
    state = State(toy_catalogue())
    state.apply(events([1], [4], [100]))
    part = Seen(event=("click",), within="10s")
    batch = toy_batch([40, 40], time=[109, 110])
    batch.req["user"][:] = 1
    kept = filter_keep(part, batch, state)
    assert [4 in batch.request(i).item[kept[40 * i : 40 * i + 40]] for i in range(2)] == [False, True]


def test_kinds_come_back_with_the_bundle(tmp_path: Path) -> None:
    catalogue = toy_catalogue()
    part = Seen()
    part.fit(Log(toy_events(5)), FitContext(catalogue, positive=("view", "buy")))
    save(part, tmp_path)
    again = Seen()
    load(again, tmp_path)
    assert np.array_equal(again.kinds, catalogue.kind_codes(("view", "buy")))


def test_unfitted_without_kinds_says_so() -> None:
    with pytest.raises(ConfigError, match="fit the pipeline, or name `event`"):
        Seen().keep(toy_batch([3]), State(toy_catalogue()))


def test_unknown_kind_names_the_choices() -> None:
    part = build("order", {"type": "seen", "event": ["bye"], "within": ""})
    with pytest.raises(ConfigError, match=r"unknown event kind 'bye'; the data have: click, buy, view"):
        part.fit(Log(toy_events(5)), FitContext(toy_catalogue(), positive=("buy",)))
    with pytest.raises(ConfigError, match="not a duration: '30'"):
        build("order", {"type": "seen", "within": "30"})
