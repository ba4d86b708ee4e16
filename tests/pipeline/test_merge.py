"""The merge against plain loops."""

import math
from typing import Any

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from shortlist.core.batch import Batch
from shortlist.core.contracts import Hits
from shortlist.pipeline.merge import given as from_given
from shortlist.pipeline.merge import merge

SIZE = 9  # items
Found = tuple[list[list[int]], list[list[float]], list[list[float]] | None]

scores = st.floats(-4, 4, width=32) | st.just(math.nan)


@st.composite
def found(draw: st.DrawFn, n: int) -> Found:
    """One source's hits for n requests: distinct items, then -1; perhaps its scores of all items, one row for all or one each."""
    k = draw(st.integers(0, 6))
    items, own = [], []
    for _ in range(n):
        row = draw(st.lists(st.integers(0, SIZE - 1), max_size=k, unique=True))
        items.append(row + [-1] * (k - len(row)))
        own.append([draw(scores) for _ in row] + [math.nan] * (k - len(row)))
    rows = draw(st.sampled_from([0, 1, n]))
    # A source may know fewer items than there are: those that arrived later have no score.
    width = draw(st.integers(1, SIZE))
    full = [[draw(scores) for _ in range(width)] for _ in range(rows)] if rows else None
    return items, own, full


@st.composite
def worlds(draw: st.DrawFn) -> tuple[int, list[Found], int]:
    n = draw(st.integers(0, 3))
    return n, draw(st.lists(found(n), min_size=1, max_size=4)), draw(st.integers(1, 12))


def slow(i: int, sources: list[Found], pool: int) -> list[dict[str, Any]]:
    """The pool of request i: rows in order, each with its columns."""
    rows: list[dict[str, Any]] = []
    longest = max(len(items[i]) for items, _, _ in sources)
    for place in range(longest):
        for s, (items, own, _) in enumerate(sources):
            if place >= len(items[i]) or items[i][place] < 0:
                continue
            item = items[i][place]
            row = next((row for row in rows if row["item"] == item), None)
            if row is None:
                if len(rows) == pool:
                    continue
                row = {"item": item, "score": [math.nan] * len(sources), "rank": [math.nan] * len(sources)}
                rows.append(row)
            row["score"][s], row["rank"][s] = own[i][place], float(place + 1)
    for row in rows:
        row["sources"] = sum(not math.isnan(rank) for rank in row["rank"])
        row["best"] = min(rank for rank in row["rank"] if not math.isnan(rank))
        row["pct"] = []
        for s, (items, _, full) in enumerate(sources):
            returned = sum(item >= 0 for item in items[i])
            row["pct"].append((row["rank"][s] - 0.5) / returned if not math.isnan(row["rank"][s]) else math.nan)
            if full and math.isnan(row["score"][s]) and row["item"] < len(full[0]):
                row["score"][s] = full[i if len(full) > 1 else 0][row["item"]]
    return rows


@given(worlds())
@example((1, [([[3, 1, -1]], [[2.0, 1.0, math.nan]], None), ([[1, 3, 2]], [[9.0, 8.0, 7.0]], [[0.5] * SIZE])], 2))
def test_merge_is_the_plain_loop(world: tuple[int, list[Found], int]) -> None:
    n, sources, pool = world
    hits = [
        Hits(
            np.array(items, dtype=np.int32).reshape(n, len(items[0]) if n else 0),
            np.array(own, dtype=np.float32).reshape(n, len(items[0]) if n else 0),
            None if full is None else np.array(full, dtype=np.float32),
        )
        for items, own, full in sources
    ]
    names = [f"s{s}" for s in range(len(sources))]
    made = merge(Batch.of(np.zeros(n), np.array(0)), names, hits, pool, SIZE)
    expected = [slow(i, sources, pool) for i in range(n)]
    assert np.diff(made.offsets).tolist() == [len(rows) for rows in expected]
    flat = [row for rows in expected for row in rows]
    assert made.item.tolist() == [row["item"] for row in flat]
    assert made.cand["sources"].tolist() == [row["sources"] for row in flat]
    assert made.cand["best_rank"].tolist() == [row["best"] for row in flat]
    for s, name in enumerate(names):
        for column, key in ((f"score_{name}", "score"), (f"rank_{name}", "rank")):
            np.testing.assert_array_equal(made.cand[column], np.array([row[key][s] for row in flat], dtype=np.float32))
        np.testing.assert_allclose(made.cand[f"pct_{name}"], np.array([row["pct"][s] for row in flat]), rtol=1e-6)
    assert all(column.dtype == np.float32 for name, column in made.cand.items() if name != "item")


def test_the_cut_is_fair_by_rank() -> None:
    """All first places come before any second place."""
    hits = [
        Hits(np.array([[0, 1, 2]], dtype=np.int32), np.zeros((1, 3), dtype=np.float32)),
        Hits(np.array([[5, 0, 6]], dtype=np.int32), np.zeros((1, 3), dtype=np.float32)),
    ]
    made = merge(Batch.of(np.zeros(1), np.array(0)), ["a", "b"], hits, 3, SIZE)
    assert made.item.tolist() == [0, 5, 1]
    assert made.cand["rank_b"].tolist()[0] == 2.0  # what is in the pool is credited to all who found it


@given(st.data())
def test_given_candidates_get_every_score(data: st.DataObject) -> None:
    """A hit's own score, else the full one, else NaN; candidates and their columns stay as they are."""
    n, size = data.draw(st.integers(1, 4)), 6
    lists = [data.draw(st.lists(st.integers(0, size), max_size=5, unique=True)) for _ in range(n)]
    counts = np.array([len(entry) for entry in lists])
    item = np.array([code for entry in lists for code in entry], dtype=np.int32)
    batch = Batch(
        Batch.of(np.arange(n), np.array(0)).req,
        np.concatenate([[0], np.cumsum(counts)]),
        {"item": item, "position": item},
    )
    found = np.array(
        [data.draw(st.lists(st.sampled_from([-1, 0, 1, 2, 3, 4, 5]), min_size=3, max_size=3)) for _ in range(n)],
        np.int32,
    )
    scores = np.arange(3 * n, dtype=np.float32).reshape(n, 3)
    full = data.draw(st.sampled_from([None, 1, n]))
    every = None if full is None else np.arange(100, 100 + full * size, dtype=np.float32).reshape(full, size)
    got = from_given(batch, ["one"], [Hits(found, scores, every)])
    assert list(got.cand) == ["item", "position", "score_one"]
    row = 0
    for i, entry in enumerate(lists):
        for code in entry:
            own = [float(scores[i, j]) for j in range(3) if found[i, j] == code]
            whole = np.nan if every is None or code >= size else every[0 if full == 1 else i, code]
            np.testing.assert_equal(got.cand["score_one"][row], np.float32(own[0] if own else whole))
            row += 1
