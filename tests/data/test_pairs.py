"""Counted pairs: against every pair of events looked at."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.data import pairs as module
from shortlist.data.log import Log
from shortlist.data.pairs import by_user, pairs


def some_log(seed: int, events: int = 120, users: int = 6, items: int = 9) -> Log:
    draw = np.random.default_rng(seed)
    time = np.sort(draw.integers(0, 500, size=events))
    time[::7] -= 20  # some events are late
    return Log(
        {
            "user": draw.integers(0, users, size=events).astype(np.int32),
            "item": draw.integers(0, items, size=events).astype(np.int32),
            "time": time,
            "kind": np.zeros(events, dtype=np.int8),
            "value": np.full(events, np.nan, dtype=np.float32),
        }
    )


@given(
    st.integers(0, 10_000),
    st.integers(1, 12),
    st.sampled_from([0.0, 60.0]),
    st.booleans(),
    st.sampled_from([0.0, 1.0]),
    st.sampled_from([0.0, 100.0]),
)
def test_pairs(seed: int, window: int, within: float, ordered: bool, distance: float, half_life: float) -> None:
    log, size, now = some_log(seed), 10, 600
    weight, count = np.zeros((size, size)), np.zeros((size, size), dtype=int)
    for user in range(6):
        rows = np.flatnonzero(log.user == user)
        for p, i in enumerate(rows):
            for q, j in enumerate(rows):
                if not (0 < q - p <= window) or log.item[i] == log.item[j]:
                    continue
                if within and abs(log.time[i] - log.time[j]) > within:
                    continue
                age = now - max(log.time[i], log.time[j])
                add = (q - p) ** -distance * (0.5 ** (age / half_life) if half_life else 1.0)
                for a, b in [(i, j)] if ordered else [(i, j), (j, i)]:
                    weight[log.item[a], log.item[b]] += add
                    count[log.item[a], log.item[b]] += 1
    got = pairs(
        by_user(log),
        size,
        window=window,
        within=within,
        ordered=ordered,
        distance=distance,
        half_life=half_life,
        now=now,
    )
    values, support = np.zeros((size, size)), np.zeros((size, size), dtype=int)
    for item in range(size):
        row = slice(got.indptr[item], got.indptr[item + 1])
        assert (np.diff(got.indices[row]) > 0).all()
        values[item, got.indices[row]], support[item, got.indices[row]] = got.values[row], got.support[row]
    np.testing.assert_array_equal(support, count)
    np.testing.assert_allclose(values, weight, rtol=1e-5, atol=1e-9)


def test_the_output_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    log = by_user(some_log(0, events=2000, users=3, items=200))
    whole = pairs(log, 200, window=5)
    monkeypatch.setattr(module, "ROOM", 1)
    for got, wanted in zip(pairs(log, 200, window=5), whole, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_no_events() -> None:
    got = pairs(some_log(0).slice(0, 0), 4)
    assert got.indptr.tolist() == [0] * 5
    assert len(got.indices) == len(got.values) == len(got.support) == 0
