"""Small catalogues, logs and batches for the tests of the ground."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from shortlist.core.batch import Array, Batch, Columns
from shortlist.core.rng import rng
from shortlist.data.catalogue import NEVER, Catalogue, Table, category, moment, number, tags, vector
from shortlist.data.vocabulary import Vocabulary

KINDS = ("click", "buy", "view")
CATEGORIES = ["news", "sport", None, "news", "arts", "sport"]  # item i has CATEGORIES[i % 6]
REGIONS = ["north", None, "south"]


def toy_catalogue(items: int = 40, users: int = 20, listed: int | None = None, **columns: Any) -> Catalogue:
    """Items 0 .. items - 1 with a category, a list of tags, a vector and a price; users with a region. columns: more item
    columns, made already."""
    about = {
        "category": category(pl.Series([CATEGORIES[i % 6] for i in range(items)], dtype=pl.String)),
        "tags": tags(pl.Series([[f"t{j}" for j in range(i % 4)] for i in range(items)], dtype=pl.List(pl.String))),
        "vector": vector(
            pl.Series([[float(i % 3 - 1), 0.5, float(i % 5 - 2)] if i % 7 else None for i in range(items)])
        ),
        "price": number(pl.Series([float(i) for i in range(items)])),
        **columns,
    }
    return Catalogue(
        Table(Vocabulary(pl.Series(range(items))), about, items if listed is None else listed),
        Table(
            Vocabulary(pl.Series([f"u{i}" for i in range(users)])),
            {"region": category(pl.Series([REGIONS[i % 3] for i in range(users)]))},
            users,
        ),
        Vocabulary(pl.Series(KINDS)),
        {"device": Vocabulary(pl.Series(["phone", "desk"]))},
    )


def moments(values: Sequence[int | None]) -> Any:
    """A moment column; None is missing."""
    column = moment(pl.Series(values, dtype=pl.Int64))
    assert column.values[-1] == NEVER
    return column


def events(
    user: Sequence[int],
    item: Sequence[int],
    time: Sequence[int],
    kind: Sequence[int] | None = None,
    value: Sequence[float] | None = None,
    device: Sequence[int] | None = None,
) -> Columns:
    """Log columns from lists; kind 0, no value and no device unless given."""
    size = len(user)
    return {
        "user": np.array(user, dtype=np.int32),
        "item": np.array(item, dtype=np.int32),
        "time": np.array(time, dtype=np.int64),
        "kind": np.array(kind if kind is not None else [0] * size, dtype=np.int8),
        "value": np.array(value if value is not None else [np.nan] * size, dtype=np.float32),
        "device": np.array(device if device is not None else [-1] * size, dtype=np.int32),
    }


def toy_events(size: int, items: int = 40, users: int = 20, seed: int = 0, span: int = 100_000) -> Columns:
    """A random stream: mostly in time order, with ties and late events."""
    draw = rng(seed, "toy events")
    time = np.sort(draw.integers(0, span, size) // 7 * 7)
    late = draw.random(size) < 0.05
    time[late] -= draw.integers(0, span // 4, int(late.sum()))
    return {
        "user": draw.integers(0, users, size).astype(np.int32),
        "item": draw.integers(0, items, size).astype(np.int32),
        "time": time.astype(np.int64),
        "kind": draw.integers(0, len(KINDS), size).astype(np.int8),
        "value": np.where(draw.random(size) < 0.2, np.nan, draw.normal(size=size)).astype(np.float32),
        "device": draw.integers(-1, 2, size).astype(np.int32),
    }


def toy_batch(
    counts: Sequence[int], items: int = 40, users: int = 20, seed: int = 0, time: Sequence[int] | int = 100_000
) -> Batch:
    """Requests with these numbers of candidates (distinct items within a request) in the order of their `score`."""
    draw = rng(seed, "toy batch")
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    item = [draw.permutation(items)[:count] for count in counts]
    score = [np.sort(draw.integers(0, 6, count).astype(np.float32))[::-1] for count in counts]
    user = draw.integers(-1, users, len(counts))
    return Batch(
        Batch.of(user, np.asarray(time), device=draw.integers(-1, 2, len(counts)).astype(np.int32)).req,
        offsets,
        {
            "item": np.concatenate([np.zeros(0, dtype=np.int32), *item]).astype(np.int32),
            "score": np.concatenate([np.zeros(0, dtype=np.float32), *score]).astype(np.float32),
        },
    )


def runs(offsets: Array, values: Array) -> list[list[Any]]:
    """Ragged columns as plain lists."""
    return [values[a:b].tolist() for a, b in itertools.pairwise(offsets)]
