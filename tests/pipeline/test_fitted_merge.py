"""Fitted merges: against plain loops over their definitions, and what is cut is what is worth least."""

import math
from typing import Any

import numpy as np
import pytest

from shortlist.core.batch import Array, Batch
from shortlist.core.contracts import Hits
from shortlist.core.rng import rng
from shortlist.pipeline.calibrated import PRIOR, Calibrated, falling
from shortlist.pipeline.learned import EACH, RIDGE, Learned
from shortlist.pipeline.merge import best, merge

NAMES = ["a", "b", "c"]
SIZE = 40


def union(n: int = 30, k: int = 15, seed: int = 0) -> tuple[Batch, Array]:
    """What three sources found for n requests, one of which scores everything, and the segment of each request."""
    draw = rng(seed, "union")
    hits = []
    for s in range(3):
        items = np.stack([draw.permutation(SIZE)[:k] for _ in range(n)]).astype(np.int32)
        items[draw.random((n, k)) < 0.1 * s] = -1
        scores = np.where(items >= 0, -np.sort(-draw.normal(size=(n, k)) * 10**s), np.nan).astype(np.float32)
        hits.append(Hits(items, scores, draw.normal(size=(n, SIZE)).astype(np.float32) if s == 1 else None))
    made = merge(Batch.of(np.arange(n), np.array(0)), NAMES, hits, 3 * k, SIZE)
    return made, np.arange(n) % 3


def slow_rows(made: Batch, segment: Array) -> list[list[float]]:
    """The columns of `learned`, candidate by candidate."""
    out = []
    for row in range(made.m):
        i = int(made.owner[row])
        mine = [other for other in range(made.m) if made.owner[other] == i]
        columns: list[float] = []
        found = 0
        for name in NAMES:
            rank, score = float(made.cand[f"rank_{name}"][row]), float(made.cand[f"score_{name}"][row])
            place = 0.0 if math.isnan(rank) else math.log(rank)
            there = 0.0 if math.isnan(rank) else 1.0
            found += int(there)
            columns += [there, place, place**2]
            columns += [there * (segment[i] == 0), place * (segment[i] == 0)]
            columns += [there * (segment[i] == 2), place * (segment[i] == 2)]
            every = [float(made.cand[f"score_{name}"][other]) for other in mine]
            every = [value for value in every if math.isfinite(value)]
            if math.isfinite(score):
                mean = sum(every) / len(every)
                spread = math.sqrt(sum((value - mean) ** 2 for value in every) / len(every))
                z = max(-4.0, min(8.0, (score - mean) / spread if spread else 0.0))
                columns += [1.0, z, z**2, math.sqrt(max(z, 0.0))]
            else:
                columns += [0.0] * 4
        out.append([*columns, float(found >= 2), float(found >= 3)])
    return out


def test_what_a_learned_merge_looks_at() -> None:
    made, segment = union(8)
    rows = Learned().rows(made, NAMES, segment)
    assert rows.shape[1] == 3 * EACH + 2
    np.testing.assert_allclose(rows, slow_rows(made, segment), rtol=1e-4, atol=1e-5)


def labels(rows: Array, seed: int = 0) -> tuple[Array, Array]:
    """Labels that depend on the first source's rank, and weights."""
    draw = rng(seed, "labels")
    odds = np.where(rows[:, 0] > 0, 1.0 - rows[:, 1], -2.0)
    return draw.random(len(rows)) < 1 / (1 + np.exp(-odds)), draw.choice([1.0, 3.0], len(rows))


def test_a_learned_merge_is_the_maximum_of_the_penalised_likelihood() -> None:
    """No small step in any direction improves it."""
    made, segment = union(60)
    part = Learned()
    rows = part.rows(made, NAMES, segment)
    label, weight = labels(rows)
    part.learn(rows, label, weight)
    mean = np.average(rows, axis=0, weights=weight)
    deviation = np.sqrt(np.average((rows - mean) ** 2, axis=0, weights=weight))

    def loss(slope: Array, intercept: float) -> float:
        odds = rows.astype(np.float64) @ slope + intercept
        total = sum(w * (math.log1p(math.exp(-z)) if y else math.log1p(math.exp(z)))
                    for w, z, y in zip(weight.tolist(), odds.tolist(), label.tolist(), strict=True))  # fmt: skip
        return float(total + RIDGE / 2 * ((slope * deviation) ** 2).sum())

    least = loss(part.slope, float(part.intercept[0]))
    for c in range(0, rows.shape[1], 3):
        for step in (-0.03, 0.03):
            moved = part.slope.copy()
            moved[c] += step / max(deviation[c], 0.1)
            assert loss(moved, float(part.intercept[0])) > least - 1e-3
    np.testing.assert_allclose(part.chance(rows), 1 / (1 + np.exp(-(rows @ part.slope + part.intercept))), rtol=1e-5)


def slow_falling(hits: list[float], met: list[float]) -> list[float]:
    """Pool adjacent violators, one merge of neighbours at a time."""
    blocks = [[h, m, 1] for h, m in zip(hits, met, strict=True)]
    while True:
        bad = next(
            (i for i in range(len(blocks) - 1) if blocks[i][0] / blocks[i][1] < blocks[i + 1][0] / blocks[i + 1][1]), -1
        )
        if bad < 0:
            return [h / m for h, m, count in blocks for _ in range(int(count))]
        blocks[bad : bad + 2] = [[a + b for a, b in zip(blocks[bad], blocks[bad + 1], strict=True)]]


def test_shares_that_never_rise() -> None:
    draw = rng(0, "falling")
    for _ in range(20):
        met = draw.integers(1, 50, 12).astype(float)
        hits = np.floor(met * draw.random(12))
        np.testing.assert_allclose(falling(hits, met), slow_falling(hits.tolist(), met.tolist()), atol=1e-12)
    gaps = falling(np.array([0.0, 2.0, 0.0, 1.0, 0.0]), np.array([0.0, 4.0, 0.0, 4.0, 0.0]))
    assert gaps.tolist() == [0.5, 0.5, 0.5, 0.25, 0.25]
    assert falling(np.zeros(3), np.zeros(3)).tolist() == [0.0, 0.0, 0.0]


def test_a_calibrated_merge_is_the_plain_loop() -> None:
    made, segment = union(60)
    part = Calibrated()
    rows = part.rows(made, NAMES, segment)
    label, weight = labels(np.stack([np.isfinite(rows[:, 0]), np.log(np.nan_to_num(rows[:, 0], nan=1.0))], axis=1))
    part.learn(rows, label, weight)
    curves: dict[tuple[int, int], list[float]] = {}
    for s in range(3):
        met = {(g, r): 0.0 for g in range(3) for r in range(1, 16)}
        hits = dict(met)
        for row in range(made.m):
            if not math.isnan(rows[row, s]):
                key = (int(segment[made.owner[row]]), int(rows[row, s]))
                met[key] += weight[row]
                hits[key] += weight[row] * label[row]
        every = [[sum(table[g, r] for g in range(3)) for r in range(1, 16)] for table in (hits, met)]
        whole = slow_falling(*every)
        for g in range(3):
            shares = [hits[g, r] + PRIOR * whole[r - 1] for r in range(1, 16)]
            curves[s, g] = slow_falling(shares, [met[g, r] + PRIOR for r in range(1, 16)])
    chance = part.chance(rows)
    for row in range(made.m):
        missed = 1.0
        for s in range(3):
            if not math.isnan(rows[row, s]):
                missed *= 1 - min(curves[s, int(segment[made.owner[row]])][int(rows[row, s]) - 1], 0.999)
        assert chance[row] == pytest.approx(1 - missed, abs=1e-5)


@pytest.mark.parametrize("kind", [Calibrated, Learned])
def test_selected_and_reserve_are_the_input(kind: Any) -> None:
    """Every candidate is in the pool or behind everything in it; none twice, none from nowhere."""
    made, segment = union(30)
    part = kind()
    rows = part.rows(made, NAMES, segment)
    label = rng(0, "y").random(made.m) < 0.2
    part.learn(rows, label, np.ones(made.m))
    chance = part.chance(rows)
    before = {name: column.copy() for name, column in made.cand.items()}
    pool = best(made, chance, 11)
    for name, column in before.items():
        np.testing.assert_array_equal(made.cand[name], column)
    for i in range(made.n):
        own = range(made.offsets[i], made.offsets[i + 1])
        order = sorted(own, key=lambda row: (-float(chance[row]), int(made.item[row])))
        selected = pool.item[pool.offsets[i] : pool.offsets[i + 1]].tolist()
        assert selected == [int(made.item[row]) for row in order[:11]]
        assert sorted([*selected, *(int(made.item[row]) for row in order[11:])]) == sorted(
            made.item[list(own)].tolist()
        )


@pytest.mark.parametrize("kind", [Calibrated, Learned])
def test_one_request_is_as_many(kind: Any) -> None:
    made, segment = union(20)
    part = kind()
    rows = part.rows(made, NAMES, segment)
    part.learn(rows, rng(0, "y").random(made.m) < 0.2, np.ones(made.m))
    many = part.chance(rows)
    for i in range(made.n):
        one = part.chance(part.rows(made.request(i), NAMES, segment[i : i + 1]))
        np.testing.assert_array_equal(one, many[made.offsets[i] : made.offsets[i + 1]])


@pytest.mark.parametrize("kind", [Calibrated, Learned])
def test_nothing_found_is_no_error(kind: Any) -> None:
    made, segment = union(4)
    part = kind()
    rows = part.rows(made, NAMES, segment)
    part.learn(rows, rng(0, "y").random(made.m) < 0.5, np.ones(made.m))
    none = made.keep(np.zeros(made.m, dtype=bool))
    assert best(none, part.chance(part.rows(none, NAMES, segment)), 5).m == 0
