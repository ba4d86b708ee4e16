"""Item vectors from one of several origins, and the vector of a history in the same space: what features compare candidates by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from shortlist.core.batch import Array
from shortlist.core.contracts import FitContext
from shortlist.core.errors import ConfigError, choices
from shortlist.core.rng import rng
from shortlist.data.catalogue import Table
from shortlist.data.log import Log
from shortlist.data.matrix import dense, interactions
from shortlist.learn import als, content, svd, text

LEARNED = ("svd", "als")
EPOCHS = 8  # of als: vectors to compare by need fewer passes than lists to show
BALANCE = 16.0


class Space(NamedTuple):
    """items: (items, d) float32, NaN where an item has no vector. unit: the same for cosines, rows of length 1. solver: empty where a
    history's vector is the sum (svd) or the weighted mean (attributes, texts) of its items'; for als (4 + d,) float64: alpha0, the
    penalty, nu, the number of items with a vector, and the diagonal of their Gram matrix."""

    items: Array
    unit: Array
    solver: Array


def fitted_space(
    origin: str,
    log: Log,
    ctx: FitContext,
    d: int,
    *,
    columns: Sequence[str] = ("*",),
    grams: int = 0,
    model: str = "",
) -> Space:
    """Vectors of length d (less where there is less to know) as of the cut-off.

    origin: `svd` or `als` of the log; `content` (category and tags columns) or `text` (columns of prose) of the items' table, or
    `item.<column>` of vectors that came with it, at their own width. log: only the events to learn from.
    """
    place = ctx.place or "feature"
    table = ctx.catalogue.items
    none = np.zeros(0)
    if origin in LEARNED:
        return _learned(origin, log, ctx, d)
    if origin == "content":
        vectors = content.dense(content.matrix(table, columns, (), 0, place), d)
    elif origin == "text" and model:
        vectors = text.embedded(content.prose(table, written(table, columns), place), model, place)
    elif origin == "text":
        vectors = content.dense(content.matrix(table, (), columns, grams, place), d)
    elif origin.startswith("item."):
        vectors = content.given(table, origin.removeprefix("item."), place)
    else:
        raise ConfigError(
            f"{place}: unknown vectors {origin!r}; choices: svd, als, content, text, "
            f"{choices(f'item.{name}' for name in table.of_kind('vector'))}"
        )
    return Space(vectors, content.unit_rows(vectors), none)


def written(table: Table, columns: Sequence[str]) -> list[str]:
    """The columns of text that are meant."""
    return content.texts(table) if "*" in columns else list(columns)


def _learned(origin: str, log: Log, ctx: FitContext, d: int) -> Space:
    size = int(log.item.max(initial=-1)) + 1
    numbered, users, known = dense(log)
    matrix = interactions(numbered, users, len(known))
    solver = np.zeros(0)
    if origin == "svd":
        vectors, values = svd.truncated(matrix, d, ctx.seed)
        near = vectors * values  # rows of V diag(s): their cosines are those of the item columns, smoothed
    else:
        alpha0, reg = als.strengths(matrix, 0.0, BALANCE, 0.0)
        first = rng(ctx.seed, "space", "als").standard_normal((len(known), d)) * (0.1 / np.sqrt(d))
        vectors, diagonal = als.factors(matrix, first, als.Loss(alpha0, reg, 1.0), epochs=EPOCHS, block=128)
        near = vectors
        solver = np.concatenate([[alpha0, reg, 1.0, len(known)], diagonal])
    return Space(svd.spread(vectors, known, size), svd.spread(content.unit_rows(near), known, size), solver)


def user_vectors(origin: str, space: Space, offsets: Array, items: Array, weights: Array) -> Array:
    """(n, d) float32 vectors of histories of distinct items; NaN where none has a vector. svd and als take every item alike, as their
    sources do; elsewhere the mean is weighted."""
    if origin == "als":
        alpha0, reg, nu, count = (float(number) for number in space.solver[:4])
        ones = np.ones(len(items), dtype=np.float32)
        diagonal = space.solver[4:].astype(np.float32)
        return als.fold_in(offsets, items, ones, space.items, diagonal, als.Loss(alpha0, reg, nu), int(count))
    if origin == "svd":
        return svd.project(offsets, items, np.ones(len(items), dtype=np.float32), space.items)
    return svd.project(offsets, items, weights, space.items, mean=True)
