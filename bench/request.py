"""How long does one request take, sources to answer, in process, on one core? A bundle's pipeline is fitted on globo (or on the
synthetic world when the data are absent), the state runs on event by event, and every request is asked at its own time with
fresh histories. Prints medians and tails over requests, the time of each stage, and what folding one event costs.

    python bench/request.py [--recipe recipes/globo_next.toml] [--data globo:PATH] [--pool 500] [--requests 2000] [--json]
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
from shortlist.data.dataset import Dataset, encode
from shortlist.data.synthetic import world
from shortlist.experiment.fit import fit, positive_kinds
from shortlist.experiment.replay import batches
from shortlist.pipeline.config import Recipe
from shortlist.pipeline.quota import most
from shortlist.pipeline.trace import Trace
from shortlist.serve.engine import Engine

TARGET = 4.0  # ms, p50
ROOT = Path(__file__).parents[1]


def setting(recipe: str | None, data: str | None, pool: int) -> tuple[Recipe, Dataset]:
    """The recipe with a pool that is really filled, and the data."""
    root = Path(os.environ.get("SHORTLIST_DATA", ROOT.parent / "shared" / "data"))
    has = (root / "globo").is_dir()
    path = Path(recipe) if recipe else ROOT / "recipes" / ("globo_next.toml" if has or data else "demo.toml")
    made = recipe_at(path, ["train.requests=1500", "train.validate=300", "timeline.cutoffs=3", f"pipeline.pool={pool}"])
    for name in made.quotas:  # sources of equal lists overlap: ask for more than the pool, so that it fills
        made.quotas[name] = max(most(made.quotas[name]), pool)
    if data or has:
        return made, data_for(made, data or f"globo:{root / 'globo'}")
    return made, encode(world(seed=0).tables)


def measured(recipe: Recipe, data: Dataset, count: int) -> dict[str, Any]:
    """Times in ms over `count` requests of the test window, after a warm-up of 50."""
    splits = recipe.timeline.splits(data)[-1]
    fitted = fit(recipe, data, splits=splits)
    kinds = data.catalogue.kind_codes(positive_kinds(recipe, data))
    requests = recipe.timeline.requests(data, splits[-1], kinds, most=count + 50, seed=1)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    whole: list[float] = []
    pools: list[int] = []
    folding: list[float] = []
    trace = Trace(whole=False)
    engine = Engine(fitted.pipeline, fitted.state, context=recipe.data.context)
    answered: list[float] = []
    for first, _, batch in batches(fitted.replay, requests, data, recipe.data.context, 1):
        if first == 50:
            trace.seconds.clear()
        start = time.perf_counter()
        fitted.pipeline.recommend(batch, fitted.state, recipe.pipeline.k, trace)
        spent = time.perf_counter() - start
        user = data.catalogue.users.ids.name(int(batch.user[0]))
        start = time.perf_counter()
        engine.recommend({"user_id": user, "time": int(batch.time[0])})
        if first >= 50:
            whole.append(1000 * spent)
            answered.append(1000 * (time.perf_counter() - start))
            assert trace.ranked is not None
            pools.append(trace.ranked.m)
    start_row, log = fitted.replay.position, data.log
    for row in range(start_row, min(start_row + 500, len(log))):
        start = time.perf_counter()
        fitted.replay.to(row + 1)
        folding.append(1000 * (time.perf_counter() - start))
    stages = {name: 1000 * spent / max(len(whole), 1) for name, spent in trace.seconds.items()}
    return {
        "pool": float(np.mean(pools)),
        "p50_ms": float(np.median(whole)),
        "p90_ms": float(np.quantile(whole, 0.9)),
        "p99_ms": float(np.quantile(whole, 0.99)),
        "engine_p50_ms": float(np.median(answered)),
        "fold_one_event_p50_ms": float(np.median(folding)) if folding else 0.0,
        "target_ms": TARGET,
        "ratio": float(np.median(whole)) / TARGET,
        "features": len(fitted.pipeline.columns),
        "trees": sum(getattr(ranker, "trees", 0) for ranker in fitted.pipeline.rankers.values()),
        "aggregates": len(fitted.state.folds),
        "stages_ms": dict(sorted(stages.items(), key=lambda entry: -entry[1])),
    }


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe")
    parser.add_argument("--data")
    parser.add_argument("--pool", type=int, default=500)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = measured(*setting(options.recipe, options.data, options.pool), options.requests)
    if options.json:
        print(json.dumps(result, indent=1))
        return
    print(f"one request, one core: pool {result['pool']:.0f}, {result['features']} features, {result['trees']} trees")
    print(
        f"p50 {result['p50_ms']:.2f} ms   p90 {result['p90_ms']:.2f}   p99 {result['p99_ms']:.2f}   target p50 {TARGET} ms"
    )
    print(f"through the engine, ids and all: p50 {result['engine_p50_ms']:.2f} ms")
    print(f"folding one event into {result['aggregates']} aggregates: p50 {result['fold_one_event_p50_ms']:.3f} ms")
    for name, spent in result["stages_ms"].items():
        print(f"  {name:28s} {spent:.3f} ms")


if __name__ == "__main__":
    main()
