"""I2i: against lists made and dealt out in plain loops."""

import numpy as np
import pytest

from shortlist.core.batch import Array
from shortlist.retrieve.i2i import I2i
from tests.retrieve import slow


def lists(part: I2i) -> list[list[tuple[int, float]]]:
    """Every item's similar items with their similarity, best first."""
    x = slow.clicked()
    users: Array = x.sum(axis=0)
    out = []
    for a in range(x.shape[1]):
        near = []
        for b in range(x.shape[1]):
            both = (x[:, a] * x[:, b]).sum()
            if a != b and both:
                near.append((b, float(np.float32(both / (np.sqrt(users[a]) * np.sqrt(users[b]) + part.shrink)))))
        out.append(sorted(near, key=lambda entry: (-entry[1], entry[0]))[: part.k])
    return out


@pytest.mark.parametrize(("apart", "seeds", "k"), [(0.25, 3, 6), (0.3, 10, 4), (2.0, 4, 100), (0.0, 5, 100)])
def test_scores(apart: float, seeds: int, k: int) -> None:
    part = I2i(apart=apart, seeds=seeds, k=k, shrink=2.0, last=12)
    state = slow.ready(part)
    similar = lists(part)
    batch = slow.small().requests(20)
    hits = part.retrieve(batch, state, 100, None)
    several = 0
    for i, user in enumerate(batch.user.tolist()):
        chosen: list[int] = []
        for item in slow.recent(user, 12):
            near_one = any(
                item == other and value >= np.float32(apart) for seed in chosen for other, value in similar[seed]
            )
            if similar[item] and not near_one and len(chosen) < seeds:
                chosen.append(item)
        several += len(chosen) > 1
        wanted: dict[int, float] = {}
        for s, seed in enumerate(chosen):
            for r, (item, _) in enumerate(similar[seed]):
                wanted[item] = max(wanted.get(item, 0.0), 1 / (1 + r + s / seeds))
        count = int((hits.items[i] >= 0).sum())
        got = dict(zip(hits.items[i, :count].tolist(), hits.scores[i, :count].tolist(), strict=True))
        assert got == pytest.approx(wanted, rel=1e-6)
    assert (several > 5) == (apart > 0)


def test_every_seed_has_its_turn() -> None:
    """Of seeds that share nothing, the first of each list comes before the second of any."""
    part = I2i(apart=2.0, seeds=3, k=2)
    state = slow.ready(part)
    batch = slow.small().requests(20)
    hits = part.retrieve(batch, state, 3, None)
    turns = 0
    for i, user in enumerate(batch.user.tolist()):
        seeds = slow.recent(user, 3)
        firsts = [int(part.indices[part.indptr[seed]]) for seed in seeds]
        if len(set(firsts)) == 3:
            assert hits.items[i].tolist() == firsts
            turns += 1
    assert turns > 2
