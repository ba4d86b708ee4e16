"""Replay: requests in log order, the state exactly as of each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.core.rows import offsets_of
from shortlist.data.dataset import encode
from shortlist.data.timeline import Requests
from shortlist.experiment.replay import Replay, asked, batches
from shortlist.state.fold.count import Count
from shortlist.state.state import State
from tests.parity.worlds import shop

DATA = encode(shop(users=10, items=12, days=2))


def requests(positions: list[int], events: bool = True) -> Requests:
    """One request at each log position, standing for the event there, or for a window."""
    rows = np.array(sorted(positions), dtype=np.int64)
    log, n = DATA.log, len(rows)
    event = rows if events else np.full(n, -1, dtype=np.int64)
    ones = np.ones(n, dtype=np.float32)
    return Requests(log.user[rows], log.time[rows], rows, offsets_of(np.ones(n, np.int64)), log.item[rows], ones, event)


@settings(max_examples=40)
@given(st.lists(st.integers(0, len(DATA.log) - 1), min_size=1, max_size=60), st.integers(1, 9))
def test_batches_stand_where_their_requests_stand(positions: list[int], chunk: int) -> None:
    """Every request once and in order, never more than `chunk`, and the state has folded in exactly what came before."""
    some = requests(positions)
    replay = Replay(DATA.log, State(DATA.catalogue, [Count(("item",))]))
    done = 0
    every = np.arange(len(DATA.catalogue.items), dtype=np.int64)
    for first, last, batch in batches(replay, some, DATA, ["device", "load"], chunk):
        assert first == done < last <= first + chunk
        done = last
        assert batch.user.tolist() == some.user[first:last].tolist()
        assert set(some.position[first:last].tolist()) == {replay.position}
        assert replay.state.count == replay.position
        counted = replay.state.read(
            replay.state.folds[next(iter(replay.state.folds))].name, every, np.zeros(1, np.int64)
        )[0]
        assert counted.tolist() == np.bincount(DATA.log.item[: replay.position], minlength=len(every)).tolist()
    assert done == len(some)


def test_context_is_that_of_the_event() -> None:
    """Or missing where the request stands for a whole window."""
    rows = [5, 40, 41, 90]
    own = asked(requests(rows), 0, 4, DATA, ["device", "load"])
    for name in ("device", "load"):
        assert own.req[name].tolist() == DATA.log.columns[name][rows].tolist()
    none = asked(requests(rows, events=False), 0, 4, DATA, ["device", "load"])
    assert none.req["device"].tolist() == [-1] * 4
    assert np.isnan(none.req["load"]).all()
    assert {name: column.dtype for name, column in none.req.items()} == {
        name: column.dtype for name, column in own.req.items()
    }


def test_it_only_goes_forward() -> None:
    """A position that lies behind would be answered with what came after it."""
    replay = Replay(DATA.log, State(DATA.catalogue))
    replay.to(20)
    with pytest.raises(ValueError, match="stands at event 20 and cannot go back to 10"):
        replay.to(10)
    replay.to(20)
    assert replay.position == replay.state.count == 20


def test_nobody_asks() -> None:
    replay = Replay(DATA.log, State(DATA.catalogue))
    assert list(batches(replay, requests([]), DATA, [], 5)) == []
    assert replay.position == 0


def test_progress_sees_every_batch() -> None:
    seen: list[Any] = []

    def progress(steps: Iterable[Any], title: str = "", total: int | None = None) -> Iterable[Any]:
        seen.append((title, total))
        return steps

    replay = Replay(DATA.log, State(DATA.catalogue))
    made = list(batches(replay, requests([3, 3, 3, 7]), DATA, [], 2, progress, "a title"))
    assert [(first, last) for first, last, _ in made] == [(0, 2), (2, 3), (3, 4)]
    assert seen == [("a title", 3)]


@pytest.mark.parametrize("minutes", [0, 5, 20])
def test_a_frozen_state_catches_up_at_whole_lengths(minutes: int) -> None:
    """With freeze the state stays where the window began; with refresh it knows what came before the last whole length."""
    start = 40
    some = requests([start + 12 * i for i in range(20)])  # over some hours
    replay = Replay(DATA.log, State(DATA.catalogue, [Count(("item",))]))
    replay.to(start)
    replay.since = int(DATA.log.time[start])
    met: list[int] = []
    refresh = f"{minutes}m" if minutes else ""
    for first, last, batch in batches(replay, some, DATA, [], 7, freeze=True, refresh=refresh):
        met += [replay.position] * (last - first)
        assert last - first <= 7
        assert replay.state.count == replay.position
        assert batch.time.tolist() == some.time[first:last].tolist()
    expected = []
    for time, own in zip(some.time.tolist(), some.position.tolist(), strict=True):
        known = start
        if minutes:
            moment = replay.since + (time - replay.since) // (minutes * 60) * minutes * 60
            known = sum(each < moment for each in DATA.log.time.tolist())
        expected.append(max(min(known, own), start))
    assert met == expected
    assert (len(set(met)) > 3) == bool(minutes)
