"""The quota optimiser: against plain loops, and against the best of all choices where these can be tried."""

import itertools

import numpy as np
import pytest

from shortlist.core.batch import Array
from shortlist.core.rng import rng
from shortlist.core.rows import offsets_of
from shortlist.experiment.quotas import LEVELS, Found, equal, greedy, joined, marginal


def world(
    seed: int, n: int = 60, sources: int = 3, depth: int = 8, good: tuple[float, ...] = (0.5, 0.1, 0.02)
) -> Found:
    """Sources whose first places are targets with different chances; about half of what they return is shared."""
    draw = rng(seed, "quotas")
    counts, ranks, target = [], [], []
    for _ in range(n):
        lists = [draw.permutation(20)[:depth] for _ in range(sources)]
        items = sorted({int(item) for row in lists for item in row})
        rank = np.zeros((sources, len(items)), dtype=np.int32)
        for s, row in enumerate(lists):
            for place, item in enumerate(row):
                rank[s, items.index(int(item))] = place + 1
        chance = sum(np.where(rank[s] > 0, good[s] / np.maximum(rank[s], 1), 0.0) for s in range(sources))
        counts.append(len(items))
        ranks.append(rank)
        target.append(draw.random(len(items)) < chance)
    hits = np.concatenate(target)
    offsets = offsets_of(np.array(counts))
    targets = np.add.reduceat(hits, offsets[:-1]) + 1
    return Found(tuple("abc"[:sources]), offsets, np.concatenate(ranks, axis=1), hits, draw.integers(0, 3, n), targets)


def slow(found: Found, quotas: Array) -> tuple[float, float]:
    """Recall and size, candidate by candidate."""
    inside = hit = 0
    for i in range(found.n):
        for row in range(found.offsets[i], found.offsets[i + 1]):
            if any(0 < found.rank[s, row] <= quotas[s, found.segment[i]] for s in range(len(quotas))):
                inside += 1
                hit += int(found.target[row])
    return hit / found.targets.sum(), inside / found.n


@pytest.mark.parametrize("apart", [False, True])
def test_recall_and_size_are_the_plain_loop(apart: bool) -> None:
    found = world(0)
    quotas = greedy(found, 6.0, apart=apart)
    assert found.judged(quotas) == pytest.approx(slow(found, quotas))
    assert slow(found, quotas)[1] <= 6.0
    for s, lost in enumerate(marginal(found, quotas)):
        without = quotas.copy()
        without[s] = 0
        assert lost == pytest.approx(slow(found, quotas)[0] - slow(found, without)[0])


def slow_greedy(found: Found, budget: float, opening: Array) -> Array:
    """The definition, every raise judged anew."""
    depth = int(found.rank.max())
    levels = [int(level) for level in LEVELS if level < depth] + [depth]
    quotas, left = np.zeros((len(found.names), 3), dtype=np.int64), budget
    while True:
        best, chosen = 0.0, None
        recall, size = slow(found, quotas)
        for s in range(len(quotas)):
            for level in levels:
                if level <= quotas[s, 0]:
                    continue
                tried = quotas.copy()
                tried[s] = level
                got = slow(found, tried)
                cost = got[1] - size + (opening[s] if quotas[s, 0] == 0 else 0.0)
                gain = (got[0] - recall) * found.targets.sum()
                if gain > 0.5 and cost <= left + 1e-9 and gain / max(cost, 1e-12) > best * (1 + 1e-9):
                    best, chosen = gain / max(cost, 1e-12), (s, level, cost)
        if chosen is None:
            return quotas
        s, level, cost = chosen
        quotas[s], left = level, left - cost


@pytest.mark.parametrize("opening", [(0.0, 0.0, 0.0), (0.5, 3.0, 0.0)])
def test_greedy_is_the_definition(opening: tuple[float, ...]) -> None:
    for seed in range(3):
        found = world(seed, n=25)
        got = greedy(found, 7.0, opening=np.array(opening))
        assert got.tolist() == slow_greedy(found, 7.0, np.array(opening)).tolist()


def test_greedy_is_near_the_best_of_all_and_beats_equal_quotas() -> None:
    """Every choice of three quotas of at most 8 is tried."""
    for seed in range(4):
        found = world(seed)
        quotas = greedy(found, 8.0)
        recall, size = found.judged(quotas)
        every = [np.repeat(np.array([q]).T, 3, axis=1) for q in itertools.product(range(9), repeat=3)]
        best = max(slow_recall for slow_recall, used in map(found.judged, every) if used <= 8.0)
        assert recall >= 0.95 * best
        even = equal(found, size)
        assert found.judged(even)[1] <= size
        more = even + 1
        assert found.judged(more)[1] > size or (more > 8).all()
        assert recall > found.judged(even)[0]


def test_what_costs_too_much_to_open_is_left_closed() -> None:
    found = world(0)
    assert greedy(found, 10.0, opening=np.array([0.0, 11.0, 0.0]))[1].tolist() == [0, 0, 0]
    assert greedy(found, 0.0).sum() == 0


def test_segments_apart_are_at_least_as_good() -> None:
    """A source that is right for one segment only is asked for that one."""
    found = world(1, good=(0.5, 0.5, 0.0))
    wrong = np.isin(found.segment[found.owner], [0]) & (found.rank[1] > 0) & (found.rank[0] == 0)
    apart = Found(found.names, found.offsets, found.rank, found.target & ~wrong, found.segment, found.targets)
    quotas = greedy(apart, 6.0, apart=True)
    assert quotas[1, 0] < quotas[1, 1]
    assert apart.judged(quotas)[0] > apart.judged(greedy(apart, 6.0))[0]


def test_a_rare_segment_gets_the_quotas_of_all() -> None:
    """Nobody of segment 0 asked: no evidence that they need nothing."""
    found = world(2, n=90)
    few = Found(
        found.names,
        found.offsets,
        found.rank,
        found.target,
        np.where(found.segment == 0, 1, found.segment),
        found.targets,
    )
    assert greedy(few, 6.0, apart=True)[:, 0].tolist() == [0, 0, 0]
    got = greedy(few, 6.0, apart=True, rare=5)
    assert got[:, 0].tolist() == greedy(few, 6.0)[:, 0].tolist()
    assert got[:, 1:].tolist() == greedy(few, 6.0, apart=True)[:, 1:].tolist()


def test_windows_together_are_their_requests_together() -> None:
    parts = [world(seed, n=20) for seed in range(3)]
    whole = joined(parts)
    quotas = np.array([[3, 2, 1], [0, 5, 2], [8, 8, 8]])
    inside = [part.judged(quotas) for part in parts]
    targets = np.array([part.targets.sum() for part in parts])
    recall = sum(got[0] * count for got, count in zip(inside, targets, strict=True)) / targets.sum()
    assert whole.judged(quotas) == pytest.approx((recall, np.mean([got[1] for got in inside])))
