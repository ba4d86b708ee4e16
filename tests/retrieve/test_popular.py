"""Popular and trending: against counts over the plain list of events."""

from collections.abc import Callable

import numpy as np
import pytest

from shortlist.core.batch import Array, Batch
from shortlist.core.errors import ConfigError
from shortlist.retrieve.popular import Popular
from shortlist.retrieve.trending import Trending
from shortlist.testing.suite import told
from tests.retrieve import slow

HOUR, DAY = 3600, 86_400


def counts(weigh: Callable[[int], float], keep: Callable[[int], bool] = lambda user: True) -> Array:
    """(items,) the sum over clicks of weigh(time), of those users only."""
    out = np.zeros(len(slow.small().catalogue.items))
    for user, item, time in slow.events():
        if keep(user):
            out[item] += weigh(time)
    return out


def test_plain_counts() -> None:
    part = Popular()
    state = slow.ready(part)
    got = slow.full_rows(part, state, slow.small().requests(3))
    for row in got:
        np.testing.assert_array_equal(row, counts(lambda time: 1.0))


def test_decayed_counts_as_of_each_request() -> None:
    part = Popular(half_life="6h")
    state = slow.ready(part)
    asked = slow.small().requests(4)
    batch = Batch({**asked.req, "time": asked.time + np.array([-HOUR, HOUR, DAY, 9 * DAY])}, asked.offsets, asked.cand)
    got = slow.full_rows(part, state, batch)
    for i in range(4):
        now = max(int(batch.time[i]), state.now)
        np.testing.assert_allclose(got[i], counts(lambda time, now=now: 0.5 ** ((now - time) / (6 * HOUR))), rtol=1e-5)  # type: ignore[misc]


def test_windowed_counts() -> None:
    part = Popular(window="1d", tiles=24)
    state = slow.ready(part)
    batch = slow.small().requests(2)
    now = max(int(batch.time[0]), state.now)
    got = slow.full_rows(part, state, batch)
    np.testing.assert_array_equal(got[0], counts(lambda time: float(now // HOUR - 24 < time // HOUR <= now // HOUR)))


def test_a_segment_has_its_own_list_once_it_is_large_enough() -> None:
    world = slow.small()
    country = world.catalogue.users.column("country").values
    sizes = {code: counts(lambda time: 1.0, lambda user, code=code: country[user] == code).sum() for code in range(3)}  # type: ignore[misc]
    part = Popular(by="user.country", least=int(sorted(sizes.values())[1]))
    state = slow.ready(part)
    batch = world.requests(40)
    got = slow.full_rows(part, state, batch)
    met = set()
    for i, user in enumerate(batch.user.tolist()):
        code = int(country[user]) if user >= 0 else -1
        own = code >= 0 and sizes[code] >= part.least
        met.add(own)
        keep = (lambda who, code=code: country[who] == code) if own else (lambda who: True)
        np.testing.assert_array_equal(got[i], counts(lambda time: 1.0, keep))
    assert met == {True, False}


def test_an_event_changes_the_next_answer() -> None:
    part = Popular(half_life="1h")
    state = slow.ready(part)
    world = slow.small()
    batch = world.requests(2)
    last = int(part.retrieve(batch, state, 60, None).items[0][-1])
    coldest = last if last >= 0 else int(np.flatnonzero(counts(lambda time: 1.0) == 0)[0])
    one = {name: column[:1].copy() for name, column in world.log.take(world.log.kind == part.kinds[0]).columns.items()}
    for _ in range(200):
        state.apply({**one, "item": np.array([coldest], np.int32), "time": np.array([world.ctx.now])})
    assert part.retrieve(batch, state, 1, None).items[0, 0] == coldest


def test_options_that_contradict_are_refused() -> None:
    with pytest.raises(ConfigError, match="half_life and window"):
        told(Popular(half_life="1h", window="1d"), slow.small().ctx)
    with pytest.raises(ConfigError, match=r"popular.by: 'item.category'"):
        told(Popular(by="item.category"), slow.small().ctx)
    with pytest.raises(ConfigError, match=r"short \(2d\) must be shorter than long \(1d\)"):
        told(Trending(short="2d", long="1d"), slow.small().ctx)


def test_trending_is_a_ratio_with_a_prior() -> None:
    part = Trending(short="6h", long="4d", prior=3.0)
    state = slow.ready(part)
    batch = slow.small().requests(2)
    now = max(int(batch.time[0]), state.now)
    short = counts(lambda time: 0.5 ** ((now - time) / (6 * HOUR)))
    long = counts(lambda time: 0.5 ** ((now - time) / (4 * DAY)))
    wanted = (short + 3) / (long / 16 + 3)
    np.testing.assert_allclose(slow.full_rows(part, state, batch)[0], wanted, rtol=1e-5)
    risers = part.retrieve(batch, state, 60, None).items[0]
    assert sorted(risers[risers >= 0].tolist()) == np.flatnonzero(wanted > 1).tolist()
    assert 0 < (risers >= 0).sum() < len(wanted)


def test_one_event_is_not_a_trend() -> None:
    """An item with a single click just now stays behind one whose flow has doubled."""
    world = slow.small()
    part = Trending(short="2h", long="2d", prior=10.0)
    state = world.state(told(part, world.ctx))
    part.fit(world.log, world.ctx)
    hits = part.retrieve(world.requests(2), state, 60, None)
    single = (1 + 10) / (1 / 24 + 10)
    assert hits.scores[0][hits.items[0] >= 0].max() > single > 1
