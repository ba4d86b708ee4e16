"""Random: the same for the same request, another for another, and every item as often as the next."""

import numpy as np

from shortlist.core.batch import Batch
from shortlist.core.contracts import FitContext, Mask
from shortlist.retrieve.random import Random
from tests.retrieve import slow


def drawn(part: Random, user: int, time: int, k: int = 10) -> list[int]:
    state = slow.ready(part)
    found: list[int] = part.retrieve(Batch.of(np.array([user]), np.array(time)), state, k, None).items[0].tolist()
    return found


def test_only_the_request_and_the_seeds_matter() -> None:
    now = slow.small().ctx.now
    first = drawn(Random(), 3, now)
    assert drawn(Random(), 3, now) == first
    other = [drawn(Random(), 4, now), drawn(Random(), 3, now + 1), drawn(Random(salt=1), 3, now)]
    part, state = Random(), slow.ready(Random())
    part.fit(slow.small().log, FitContext(slow.small().catalogue, ("click",), now=now, seed=7))
    other.append(part.retrieve(Batch.of(np.array([3]), np.array(now)), state, 10, None).items[0].tolist())
    assert first not in other
    assert len({tuple(row) for row in other}) == 4


def test_every_item_is_as_likely() -> None:
    """Chi-square of the first place over 20,000 requests: 59 degrees of freedom, 1 in 10,000 above 106."""
    part = Random()
    state = slow.ready(part)
    n, size = 20_000, len(slow.small().catalogue.items)
    batch = Batch.of(np.full(n, 3), slow.small().ctx.now + np.arange(n))
    first = np.bincount(part.retrieve(batch, state, 1, None).items[:, 0], minlength=size)
    expected = n / size
    assert 25 < ((first - expected) ** 2 / expected).sum() < 106


def test_places_are_in_order_and_bans_hold() -> None:
    part = Random()
    state = slow.ready(part)
    batch = slow.small().requests(6)
    size = len(slow.small().catalogue.items)
    banned = np.tile(np.arange(0, size, 2, dtype=np.int32), batch.n)
    mask = Mask(None, np.arange(batch.n + 1) * len(np.arange(0, size, 2)), banned)
    hits = part.retrieve(batch, state, size, mask)
    assert (hits.items[:, : size // 2] % 2 == 1).all()
    assert (np.diff(hits.scores[:, : size // 2]) <= 0).all()
    assert (hits.items[:, size // 2 :] == -1).all()


def test_what_is_not_known_yet_is_not_drawn() -> None:
    """Neither an item that no table lists and no event has named, nor a user code of the future, tells anything."""
    part = Random()
    state = slow.ready(part)
    size = len(slow.small().catalogue.items)
    assert set(drawn(part, 0, 5, size)) == set(range(size))
    future = len(slow.small().catalogue.users) + 5
    asked = Batch.of(np.array([future, -1]), np.array(5))
    items = part.retrieve(asked, state, 5, None).items
    assert items[0].tolist() == items[1].tolist()
