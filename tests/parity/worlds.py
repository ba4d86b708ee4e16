"""A small shop with everything in it, a recipe with every built-in part, and what it means that two results are the same."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from shortlist.core.batch import Array, Batch
from shortlist.core.component import param
from shortlist.core.contracts import Frame, Rule, State
from shortlist.core.rng import rng
from shortlist.core.units import iso
from shortlist.data.schema import Tables
from shortlist.data.synthetic import START, world
from shortlist.pipeline.config import Recipe, parse

DAY = 86_400
DAYS = 10

SOURCES: list[dict[str, Any]] = [
    {"type": "popular", "half_life": "1d", "quota": 12},
    {"type": "popular", "name": "popular_here", "by": "device", "window": "2d", "least": 20, "quota": 8},
    {"type": "popular", "name": "popular_ever", "by": "user.country", "least": 20, "quota": 8},
    {"type": "trending", "short": "6h", "long": "2d", "prior": 1.0, "quota": 6},
    {"type": "ctr_top", "half_life": "2d", "prior": 5.0, "quota": 6},
    {"type": "ctr_top", "name": "wctr_top", "event": "purchase", "weigh": True, "least": 3, "quota": 6},
    {"type": "history", "event": ["click", "purchase"], "weights": {"purchase": 2.0}, "quota": 6},
    {"type": "history", "name": "due", "until": ["cart"], "cycle": "1d", "quota": 4},
    {"type": "itemknn", "k": 20, "quota": 10},
    {"type": "cooccurrence", "within": "12h", "half_life": "3d", "quota": 10},
    {"type": "ease", "reg": 5.0, "max_items": 40, "quota": 10},
    {"type": "ials", "d": 6, "epochs": 3, "quota": 10},
    {"type": "ials", "name": "ials_weighed", "d": 6, "epochs": 2, "block": 4, "weigh": "count", "eps": 1.0, "quota": 6},
    {"type": "puresvd", "d": 6, "scale": 0.8, "quota": 8},
    {"type": "hybridsvd", "d": 6, "text": ["*"], "quota": 8},
    {"type": "content", "quota": 8},
    {"type": "content", "name": "content_max", "combine": "max", "grams": 3, "quota": 6},
    {"type": "als_content", "d": 6, "epochs": 3, "quota": 8},
    {"type": "slim", "l1": 0.5, "l2": 3.0, "quota": 10},
    {"type": "rp3beta", "k": 20, "quota": 10},
    {"type": "newest", "by": "category", "quota": 6},
    {"type": "random", "quota": 4},
    {"type": "quorum", "least": 2, "top": 10, "quota": 8},
    {"type": "eals", "d": 6, "epochs": 3, "reg": 0.5, "biases": True, "quota": 10},
    {"type": "tensor", "event": ["click", "cart"], "d": 6, "d_user": 6, "quota": 10},
    {"type": "i2i", "k": 10, "seeds": 3, "quota": 8},
]
FILTERS: list[dict[str, Any]] = [
    {"type": "available"},
    {"type": "seen", "event": ["purchase"]},
    {"type": "seen", "name": "clicked_now", "within": "2h"},
]
# Every form that a key may have.
KEYS = [
    "item", "item.*", "item.tags", "last", "hour", "device x item", "user x item", "user x item.tags", "last x item",
    "user.country x item.category x hour", "weekday x user.country x item.tags",
]  # fmt: skip
FEATURES: list[dict[str, Any]] = [
    {"type": "attributes", "context": ["device", "load"]},
    {"type": "clock", "offset": "2h"},
    {
        "type": "counts", "by": ["item", "item.*", "user", "user x item", "device x item", "user.country x item"],
        "half_life": ["6h", "2d"], "window": ["1d"], "total": True, "share": True,
    },
    {"type": "counts", "name": "shown", "event": ["impression"], "half_life": ["1d"]},
    {
        "type": "counts", "name": "of_lists", "event": "cart", "by": ["item.tags", "user x item.tags", "last.category x item.tags"],
        "half_life": ["1d"], "total": True,
    },
    {"type": "recency", "by": ["item", "user", "user x item", "item.category"]},
    {"type": "recency", "name": "rhythm", "event": ["impression"], "by": ["user", "item.tags"], "first": True, "gap": True},
    {"type": "rate", "by": KEYS, "half_life": ["12h", "3d"], "total": True},
    {"type": "rate", "name": "held", "event": ["click"], "by": ["user", "user x item.category"], "hold": "30m", "prior": 2.0},
    {"type": "rate", "name": "lagged", "event": "click", "by": ["item", "user x item.tags"], "lag": "1d", "half_life": ["4d"]},
    {
        "type": "rate", "name": "worth", "event": ["purchase"], "over": ["click", "cart"], "by": ["item", "user.country x item.tags"],
        "weigh": True,
    },
    {"type": "mean", "event": ["purchase"], "by": ["item.category", "user", "user.country x item.tags x device"]},
    {
        "type": "conditional", "name": "among", "event": ["click"], "half_life": ["8h", "2d"],
        "segment": ["user.*", "device", "last", "hour", "user.country x weekday"],
    },
    {"type": "conditional", "name": "tags_among", "event": ["click"], "what": "item.tags", "segment": ["last.category", "user"]},
    {"type": "session", "kinds": 3},
    {"type": "cooccurrence", "event": ["click", "cart"], "norm": ["npmi", "lift"], "weights": {"cart": 2.0}, "last": 10, "room": 16},
    {"type": "pair"},
    {"type": "auto", "families": ["rate", "conditional"]},
    {
        "type": "frozen", "history": 20, "families": [
            {"type": "rate", "event": ["click"], "by": ["user", "user x item.tags", "device x item"]}, {"type": "session", "gap": "2d", "kinds": 2},
            {"type": "similarity", "dim": 4}, {"type": "pair"}, {"type": "counts", "by": ["user", "last x item"]},
        ],
    },
    {"type": "similarity", "dim": 6},
    {"type": "similarity", "name": "near_als", "vectors": "als", "dim": 5, "last": 10},
    {"type": "similarity", "name": "near_content", "vectors": "content", "dim": 8, "event": ["purchase"]},
    {"type": "text", "dim": 7, "grams": 3},
    {"type": "vectors", "vectors": "content", "dim": 3},
]  # fmt: skip
RANKERS: list[dict[str, Any]] = [
    {"type": "linear", "name": "light", "steps": 20, "keep": 30},
    {"type": "blend", "of": {"type": "linear", "steps": 10}, "cutoffs": 1},
    {"type": "average", "of": [{"type": "linear", "steps": 5}, {"type": "linear", "steps": 8}], "weights": [2.0, 1.0]},
    {"type": "catboost", "iterations": 12, "depth": 4, "one_hot": 40, "threads": 1},
]
RULES: list[dict[str, Any]] = [
    {"type": "boost", "wishes": [{"places": 3, "by": "category", "value": "toys"}]},
    {"type": "cap", "most": 4, "within": 10},
    {"type": "mmr", "by": "tags", "weight": 0.8, "depth": 15},
    {"type": "tests.parity.worlds.Shuffle"},
    {"type": "plackett_luce", "depth": 12},
    {"type": "top", "k": 20},
]
# Only one rule that draws may stand in a recipe: these are tried in the place of plackett_luce.
INSTEAD: list[dict[str, Any]] = [{"type": "epsilon_greedy", "epsilon": 0.4, "places": 8, "depth": 12}]


@dataclass
class Shuffle(Rule):
    """Puts the first places of every request into random order, and says nothing of propensities: a foreign rule may."""

    first: int = param(3, "places that are shuffled", low=1)

    def rows(self, batch: Batch, state: State, rng: Callable[[int], np.random.Generator]) -> Array:
        """(m,) row indices."""
        rows = np.arange(batch.m)
        for i in range(batch.n):
            start, stop = batch.offsets[i], min(batch.offsets[i] + self.first, batch.offsets[i + 1])
            rows[start:stop] = start + rng(i).permutation(stop - start)
        return rows


def recipe(**changes: Any) -> Recipe:
    """The recipe with every built-in part. changes: whole tables or stages that are written otherwise; a stage's value
    replaces it, a table's entries are put over its own."""
    tree: dict[str, Any] = {
        "title": "everything",
        "data": {"positive": ["click"], "context": ["device", "load"]},
        "timeline": {"test": START + 8 * DAY, "window": "1d", "cutoffs": 3},
        "train": {"negatives": 10, "requests": 40, "validate": 20},
        "state": {"history": 64},
        "pipeline": {"pool": 40},
        "evaluate": {"resamples": 20},
        "source": SOURCES, "filter": FILTERS, "feature": FEATURES, "ranker": RANKERS, "rule": RULES,
    }  # fmt: skip
    tree = copy.deepcopy(tree)
    for key, value in changes.items():
        tree[key] = {**tree.get(key, {}), **value} if isinstance(value, dict) else value
    tree["timeline"]["test"] = dated(tree["timeline"]["test"])
    return parse(tree)


def dated(test: Any) -> Any:
    """Unix seconds as the text that `timeline.test` takes; a share as it is."""
    return iso(test) if isinstance(test, int) else test


def shop(users: int = 60, items: int = 50, days: int = DAYS, seed: int = 0) -> Tables:
    """A small shop. A third of the users and a fifth of the items are in no table: they arrive with their first event. `load`
    is a context column of numbers."""
    tables = world(seed, users=users, items=items, days=days).tables
    events = tables.events.with_columns(load=pl.Series(rng(seed, "load").random(len(tables.events)).round(3)))
    assert tables.items is not None
    assert tables.users is not None
    return Tables(events, tables.items.head(items * 4 // 5), tables.users.head(users * 2 // 3), name="shop")


def without(tables: Tables, start: int, stop: int = 2**62) -> Tables:
    """The tables without the events from `start` to `stop`."""
    return Tables(
        tables.events.filter(~pl.col("time").is_between(start, stop, closed="left")), tables.items, tables.users
    )


def corrupted(tables: Tables, start: int, stop: int = 2**62, seed: int = 1) -> Tables:
    """The tables with every event from `start` to `stop` replaced by noise: other and new users, items, kinds, values and
    context, other times, more of them, strewn between the others, whose own order is kept."""
    events = tables.events
    last = int(events["time"].to_numpy().max()) + 1
    stop = min(stop, last + 5 * DAY)
    here = pl.col("time").is_between(start, stop, closed="left")
    kept, size = events.filter(~here), events.filter(here).height + 200
    draw = rng(seed, "corrupted")
    ids = {
        "user_id": [*events["user_id"].unique(maintain_order=True).to_list(), *(f"new{i}" for i in range(30))],
        "item_id": [*events["item_id"].unique(maintain_order=True).to_list(), *(f"new{i}" for i in range(30))],
        "event": ["click", "click", "purchase", "cart", "impression", "share"],
        "device": ["phone", "desktop", "tablet", "fridge", None],
    }
    noise = pl.DataFrame(
        {
            **{name: [words[i] for i in draw.integers(0, len(words), size)] for name, words in ids.items()},
            "time": draw.integers(start, stop, size),
            "value": draw.normal(size=size),
            "request_id": draw.integers(0, 10_000, size),
            "position": draw.integers(0, 9, size),
            "load": draw.normal(size=size),
        },
        schema_overrides=dict(events.schema),
    ).select(events.columns)
    strewn = pl.concat([kept, noise]).with_columns(
        order=np.concatenate([np.sort(draw.random(kept.height)), draw.random(size)])
    )
    return Tables(strewn.sort("order").drop("order"), tables.items, tables.users)


def same_arrays(got: Array, expected: Array, name: str = "") -> None:
    """Equal to the bit, NaN being equal to NaN whatever its bits."""
    assert got.dtype == expected.dtype, name
    assert got.shape == expected.shape, name
    np.testing.assert_array_equal(got, expected, err_msg=name, strict=True)


def same_batches(got: Batch, expected: Batch) -> None:
    """The same requests, candidates and columns, to the bit."""
    assert list(got.req) == list(expected.req)
    assert list(got.cand) == list(expected.cand)
    same_arrays(got.offsets, expected.offsets, "offsets")
    for name in expected.req:
        same_arrays(got.req[name], expected.req[name], name)
    for name in expected.cand:
        same_arrays(got.cand[name], expected.cand[name], name)


def same_frames(got: Frame, expected: Frame) -> None:
    """The same training rows, to the bit."""
    assert got.features == expected.features
    same_batches(got.batch, expected.batch)
    for name in ("label", "weight", "cutoff"):
        same_arrays(getattr(got, name), getattr(expected, name), name)


def differs(got: Frame, expected: Frame) -> bool:
    """Are the frames not the same?"""
    try:
        same_frames(got, expected)
    except AssertionError:
        return True
    return False
