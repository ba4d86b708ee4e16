"""What do the features cost? The full `auto` set on a data set: events folded per second, microseconds per request and family for a
pool of candidates, seconds for a training frame whose requests each have their own time, bytes per item and per user. One core.

    python bench/features.py [--data globo:PATH] [--recipe FILE] [--pool 500] [--requests 1000] [--frame 20000x200] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from shortlist.cli.reading import data_for, recipe_at
from shortlist.core.batch import Array, Batch
from shortlist.core.rng import rng
from shortlist.data.dataset import Dataset
from shortlist.experiment.features import whose
from shortlist.experiment.fit import context_of, new_state
from shortlist.experiment.replay import Replay
from shortlist.experiment.settle import settle
from shortlist.pipeline.config import Recipe
from shortlist.pipeline.pipeline import Pipeline
from shortlist.pipeline.trace import Trace
from shortlist.state.state import State

ROOT = Path(__file__).parents[1]
SPEED, REQUEST, FRAME, MEMORY = (
    1.0,
    500.0,
    60.0,
    1024,
)  # targets: M events/s, us at a pool of 500, s, bytes per item and user


class Setting:
    """A data set with the full `auto` set fitted as of the test cut-off, and the state there."""

    def __init__(self, recipe: Recipe, data: Dataset) -> None:
        self.data = data
        splits = recipe.timeline.splits(data)[-1]
        self.recipe, self.chosen = settle(recipe, data, splits[0], context_of(recipe, data, splits[0].cut))
        self.pipeline = Pipeline({}, {}, features=self.recipe.features)
        ctx = context_of(self.recipe, data, splits[-1].cut)
        self.ctx, self.split = ctx, splits[-1]
        self.state = new_state(self.recipe, data, self.pipeline, ctx)
        self.replay = Replay(data.log, self.state)
        self.pipeline.fit(recipe.timeline.training(data, splits[-1]), ctx)
        warm = new_state(self.recipe, data, self.pipeline, ctx)
        warm.apply(data.log.slice(0, 2000).columns)  # compile

    def folded(self) -> float:
        """Million events per second of processor time, up to the cut-off."""
        start = time.thread_time()
        self.replay.to(self.split.start)
        return self.split.start / (time.thread_time() - start) / 1e6

    def asked(self, row: int, pool: Array) -> Batch:
        """The request of the event at a log row, with its context, for these candidates."""
        log = self.data.log.columns
        context = {name: log[name][row : row + 1] for name in self.recipe.data.context}
        req = Batch.of(log["user"][row : row + 1], log["time"][row : row + 1], **context).req
        return Batch(req, np.array([0, len(pool)]), {"item": pool})


def pools(setting: Setting, size: int, count: int) -> Array:
    """(count, size) candidates: distinct items of the last days, as retrieval would find them."""
    items = setting.data.log.item[max(setting.split.start - 200_000, 0) : setting.split.start]
    counts = np.bincount(items)
    often = np.argsort(-counts, kind="stable")[: max(4 * size, 100)].astype(np.int32)
    draw = rng(0, "pools")
    return np.stack([draw.permutation(often)[:size] for _ in range(count)])


def requests(setting: Setting, pool: int, count: int) -> dict[str, Any]:
    """Microseconds per family: medians over requests that are asked one at a time, each at its own event."""
    stop = min(setting.split.stop, len(setting.data.log))
    first = setting.split.start
    rows = np.linspace(first, first + (stop - first) // 10, count + 50).astype(int)
    candidates = pools(setting, pool, 64)
    whole: list[float] = []
    families: dict[str, list[float]] = {name: [] for name in setting.pipeline.features}
    for i, row in enumerate(rows):
        setting.replay.to(int(row))
        batch = setting.asked(int(row), candidates[i % len(candidates)])
        trace = Trace()
        # Processor time: the work runs in one thread, and the clock on the wall would count what else the machine does.
        start = time.thread_time()
        setting.pipeline.add_features(batch, setting.state, trace)
        spent = time.thread_time() - start
        if i >= 50:
            whole.append(1e6 * spent)
            for name in families:
                families[name].append(1e6 * trace.seconds[f"feature.{name}"])
    medians = {name: round(float(np.median(times)), 1) for name, times in families.items()}
    return {
        "pool": candidates.shape[1],
        "columns": len(setting.pipeline.columns),
        "p50_us": round(float(np.median(whole)), 1),
        "p99_us": round(float(np.quantile(whole, 0.99)), 1),
        "families_us": dict(sorted(medians.items(), key=lambda entry: -entry[1])),
    }


def frame(setting: Setting, count: int, pool: int) -> dict[str, Any]:
    """Seconds to make the rows of `count` requests with `pool` candidates, each at its own time, the state moving between them."""
    size = min(count, len(setting.data.log) - setting.replay.position)
    rows = np.linspace(setting.replay.position, len(setting.data.log) - 1, size).astype(int)
    candidates = pools(setting, pool, 64)
    start = time.perf_counter()
    for i, row in enumerate(rows):
        setting.replay.to(int(row))
        setting.pipeline.add_features(setting.asked(int(row), candidates[i % 64]), setting.state)
    spent = time.perf_counter() - start
    return {
        "requests": size,
        "candidates": candidates.shape[1],
        "seconds": round(spent, 1),
        "seconds_for_all": round(spent * count / size, 1),
    }


def memory(state: State, data: Dataset) -> dict[str, Any]:
    """Bytes per item and per user of all arrays that are kept by them, with the room that they have grown, and of every aggregate."""
    held: dict[str, int] = {}
    sums = {"item": 0, "user": sum(array.nbytes for array in state.history_arrays().values()), "neither": 0}
    for name, fold in state.folds.items():
        held[name] = sum(value.nbytes for value in vars(fold).values() if isinstance(value, np.ndarray))
        sums[whose(fold.by)] += held[name]
    for by, table in state.slots().items():
        sums[whose(by)] += sum(array.nbytes for array in table.arrays().values())
    items, users = len(data.catalogue.items), len(data.catalogue.users)
    return {"bytes_per_item": sums["item"] // items, "bytes_per_user": sums["user"] // users, "aggregates": held}


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = Path(os.environ.get("SHORTLIST_DATA", ROOT.parent / "shared" / "data"))
    parser.add_argument("--data", default=f"globo:{root / 'globo'}")
    parser.add_argument("--recipe", default=str(ROOT / "recipes" / "globo_next.toml"))
    parser.add_argument("--pool", type=int, default=500)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--frame", default="20000x200")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    recipe = recipe_at(Path(given.recipe), [])
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    setting = Setting(recipe, data_for(recipe, given.data))
    count, pool = (int(part) for part in given.frame.split("x"))
    result = {
        "data": given.data.partition(":")[0],
        "families": len(setting.pipeline.features),
        "million_events_per_second": round(setting.folded(), 2),
        "request": requests(setting, given.pool, given.requests),
        "frame": frame(setting, count, pool),
        "memory": memory(setting.state, setting.data),
    }
    if given.json:
        print(json.dumps(result, indent=1))
        return
    asked, made, kept = result["request"], result["frame"], result["memory"]
    print(f"{result['data']}: {result['families']} families, {asked['columns']} columns, one core")
    print(f"folding: {result['million_events_per_second']} M events/s (target {SPEED:g})")
    print(
        f"features of {asked['pool']} candidates: p50 {asked['p50_us']:.0f} us, p99 {asked['p99_us']:.0f} (target p50 {REQUEST:.0f})"
    )
    for name, spent in asked["families_us"].items():
        print(f"  {name:28s} {spent:7.1f} us")
    print(
        f"frame of {made['requests']:,} x {made['candidates']}: {made['seconds']} s, so {given.frame}: {made['seconds_for_all']} s (target {FRAME:.0f})"
    )
    print(f"memory: {kept['bytes_per_item']} bytes per item, {kept['bytes_per_user']} per user (target {MEMORY})")
    for name, size in sorted(kept["aggregates"].items(), key=lambda entry: -entry[1]):
        print(f"  {size / 1e6:8.1f} MB  {name}")


if __name__ == "__main__":
    main()
