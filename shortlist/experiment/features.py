"""Features: the columns that a recipe's ranker sees, what each costs, brings and does over time, and what the aggregates behind them
hold in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from shortlist.core.batch import Array, Batch, concat
from shortlist.core.contracts import silent
from shortlist.data.dataset import Dataset
from shortlist.data.timeline import Split
from shortlist.experiment import given
from shortlist.experiment.drift import stability
from shortlist.experiment.fit import Fitted, context_of, fit, positive_kinds
from shortlist.experiment.replay import asked
from shortlist.experiment.settle import Settled, settle
from shortlist.pipeline.config import Recipe
from shortlist.state.memory import PLACE, held, history_bytes

TIMED = 100  # requests whose families are timed
WARM = 5  # requests before those: the first compile and fill caches
BANDS = "below 0.1 steady, 0.1 to 0.25 moved, above 0.25 drifted"


@dataclass
class Features:
    """What `features` found. columns: a row per column, the largest gain first; families: a row per family, with the median
    microseconds per request; memory: a row per aggregate."""

    recipe: Recipe  # as settled
    chosen: list[Settled]
    columns: list[dict[str, Any]]
    families: list[dict[str, Any]]
    memory: list[dict[str, Any]]
    totals: dict[str, Any]
    notes: list[str] = field(default_factory=list)

    def json(self) -> dict[str, Any]:
        """For files and programs."""
        told = {name: value for name, value in vars(self).items() if name != "recipe"}
        return {**told, "chosen": [vars(one) for one in self.chosen]}


def settled(recipe: Recipe, data: Dataset) -> tuple[Recipe, list[Settled]]:
    """The recipe with its open features chosen as of the first label cut-off of the oldest test window: no label and no test of a
    backtest has a part in the choice."""
    first = recipe.timeline.splits(data)[0][0]
    return settle(recipe, data, first, context_of(recipe, data, first.cut))


def features(recipe: Recipe, data: Dataset, progress: Callable[..., Iterable[Any]] = silent) -> Features:
    """Fit as a backtest does for its last test window, and look at what the ranker learned from. Requests of that window are asked one
    at a time to measure the cost."""
    own, chosen = settled(recipe, data)
    splits = own.timeline.splits(data)[-1]
    fitted = fit(own, data, progress, splits)
    pools, seconds, made = _timed(fitted, splits[-1], progress)
    frame = fitted.frame
    batch = concat(pools) if frame is None else frame.batch
    names = list(frame.features) if frame is not None else [name for name in batch.cand if name != "item"]
    families: list[dict[str, Any]] = [
        {
            "family": name,
            "columns": len(made[name]),
            "us": 1e6 * float(np.median(seconds[name])),
            "us_p99": 1e6 * float(np.quantile(seconds[name], 0.99)),
        }
        for name in made
    ]
    family_of = {column: name for name, columns in made.items() for column in columns}
    cost = {str(entry["family"]): entry["us"] / max(entry["columns"], 1) for entry in families}
    gains = _gains(fitted)
    windows = None if frame is None else batch.spread(frame.cutoff)
    columns = []
    for name in names:
        family = family_of.get(name, "source")
        columns.append(
            {
                "column": name,
                "family": family,
                **described(batch.cand[name]),
                "us": cost.get(family),
                "gain": gains.get(name, 0.0) if gains else None,
                "drift": None if windows is None else _drift(batch.cand[name], windows),
            }
        )
    columns.sort(key=lambda row: (-(row["gain"] or 0.0), row["column"]))
    memory, totals = _memory(fitted)
    candidates = float(np.mean([pool.m for pool in pools])) if pools else 0.0
    totals |= {"requests_timed": len(pools), "candidates": candidates, "us": sum(entry["us"] for entry in families)}
    notes = [str(note) for note in fitted.notes]
    return Features(own, chosen, columns, families, memory, totals, notes)


def _timed(
    fitted: Fitted, test: Split, progress: Callable[..., Iterable[Any]]
) -> tuple[list[Batch], dict[str, list[float]], dict[str, list[str]]]:
    """Pools of requests of the test window, asked one at a time, with their features; per family the seconds of each request, and its
    columns. What several families look up for one request is paid by the first of them, as when serving."""
    recipe, data, pipeline, state = fitted.recipe, fitted.data, fitted.pipeline, fitted.state
    kinds = data.catalogue.kind_codes(positive_kinds(recipe, data))
    if given.is_given(recipe):
        requests = given.requests(recipe, data, test, kinds, most=TIMED + WARM, seed=recipe.seed)
    else:
        requests = recipe.timeline.requests(data, test, kinds, most=TIMED + WARM, seed=recipe.seed)
    pools: list[Batch] = []
    seconds: dict[str, list[float]] = {name: [] for name in pipeline.features}
    made: dict[str, list[str]] = {name: [] for name in pipeline.features}
    for i in progress(range(len(requests)), "time the families", len(requests)):
        pool = pipeline.retrieve(asked(requests, i, i + 1, data, recipe.data.context), state)
        if not pool.m:
            continue
        columns = {}
        for name, part in pipeline.features.items():
            started = time.perf_counter()
            own = part.compute(pool, state)
            elapsed = time.perf_counter() - started
            made[name] = list(own)
            columns.update(own)
            if i >= WARM or len(requests) <= WARM:
                seconds[name].append(elapsed)
        if i >= WARM or len(requests) <= WARM:
            pools.append(pool.with_columns(columns))
    return pools, {name: values or [0.0] for name, values in seconds.items()}, made


def _gains(fitted: Fitted) -> dict[str, float]:
    """Importance of every column in the last ranker, in percent of all; empty where the ranker tells none."""
    gains = {str(entry["feature"]): max(float(entry["gain"]), 0.0) for entry in fitted.importance}
    total = sum(gains.values())
    return {name: 100 * gain / total for name, gain in gains.items()} if total else {}


def described(column: Array) -> dict[str, Any]:
    """Type, share of missing values, and how the others lie."""
    if column.dtype.kind in "iu":
        there = column[column >= 0]
        shape: dict[str, Any] = {"distinct": len(np.unique(there)), "min": None, "median": None, "max": None}
    else:
        there = column[~np.isnan(column)]
        cuts = np.quantile(there, [0.0, 0.5, 1.0]).tolist() if len(there) else [None] * 3
        shape = {"distinct": None, "min": cuts[0], "median": cuts[1], "max": cuts[2]}
    missing = 1 - len(there) / len(column) if len(column) else 0.0
    return {"type": "category" if column.dtype.kind in "iu" else "number", "missing": missing, **shape}


def _drift(column: Array, windows: Array) -> float | None:
    """Drift from the oldest to the newest label window; None where there is one only."""
    oldest, newest = int(windows.min(initial=0)), int(windows.max(initial=0))
    return None if oldest == newest else stability(column[windows == oldest], column[windows == newest])


def _memory(fitted: Fitted) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A row per aggregate, and kilobytes per user and per item. A key with `user` in it is the users', else one with `item` the items';
    arrays that are not by slot are the items' (neighbours)."""
    state = fitted.state
    rows: list[dict[str, Any]] = []
    sums = {"user": float(history_bytes(state)), "item": 0.0, "neither": 0.0}
    for one in held(state):
        sums[whose(one.by)] += one.bytes * one.keys
        sums["item"] += one.beside
        rows.append(
            {
                "aggregate": one.name,
                "key": " x ".join(one.by) or "everything",
                "bytes": one.bytes,
                "slots": one.keys,
                "evicted": one.evicted,
                "kb": (one.bytes * one.keys + one.beside) / 1000,
            }
        )
    for by, table in state.slots().items():
        if len(by) > 1:
            sums[whose(by)] += PLACE * table.live
            rows.append({
                "aggregate": "table of keys", "key": " x ".join(by), "bytes": PLACE, "slots": table.live, "evicted": table.evicted,
                "kb": PLACE * table.live / 1000,
            })  # fmt: skip
    users, items = max(len(state.catalogue.users), 1), max(len(state.catalogue.items), 1)
    totals = {
        "users": users, "items": items, "kb_per_user": sums["user"] / 1000 / users, "kb_per_item": sums["item"] / 1000 / items,
        "kb_of_neither": sums["neither"] / 1000, "history_kb": history_bytes(state) / 1000,
    }  # fmt: skip
    return sorted(rows, key=lambda row: (-row["kb"], row["aggregate"])), totals


def whose(by: tuple[str, ...]) -> str:
    """To whom the memory of a key is reckoned: user, item or neither."""
    return "user" if "user" in by else "item" if "item" in by else "neither"
