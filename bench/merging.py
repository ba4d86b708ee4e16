"""What does a pool of the same size hold, however it is merged? Quotas by marginal recall and fitted merges are chosen on the label windows
of a recipe, and judged once on its test window, beside equal quotas of the same mean size. Recall is the share of all targets; differences
are paired, with a 95% bootstrap interval over users. No ranker is fitted.

    python bench/merging.py [--sets globo,ml1m,kuairand] [--sizes 100,200] [--requests 1500] [--users 6000] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from shortlist.cli.reading import data_for, recipe_at
from shortlist.core.batch import Array
from shortlist.core.rows import offsets_of
from shortlist.data.timeline import Requests, Split
from shortlist.experiment.fit import Fitted, advanced, context_of, label_requests, labelled, new_state, positive_kinds
from shortlist.experiment.merging import REQUESTS, Lessons
from shortlist.experiment.quotas import Found, equal, greedy, joined
from shortlist.experiment.replay import Replay, batches
from shortlist.experiment.tune import RARE
from shortlist.metric.interval import paired
from shortlist.pipeline.calibrated import Calibrated
from shortlist.pipeline.learned import Learned
from shortlist.pipeline.merge import best
from shortlist.pipeline.pipeline import Pipeline
from shortlist.pipeline.quota import segments
from shortlist.pipeline.trace import Trace

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "globo": "globo",
    "ml1m": "ml-1m",
    "kuairand": "kuairand-pure",
    "online_retail": "online-retail",
    "xwines": "x-wines-slim",
}


def asked(
    fitted: Fitted, requests: Requests, split: Split, lessons: dict[str, Lessons], pools: dict[str, tuple[Any, int]]
) -> tuple[Found, dict[str, Array]]:
    """What the sources find for requests, noted as lessons; and, of each merge in `pools` (merge, size), the targets in its pool per request."""
    pipeline, replay, recipe = fitted.pipeline, fitted.replay, fitted.recipe
    names, parts = list(pipeline.sources), []
    hits: dict[str, list[Array]] = {name: [] for name in pools}
    for first, last, batch in batches(replay, requests, fitted.data, recipe.data.context, recipe.pipeline.chunk):
        union = pipeline.retrieve(batch, replay.state)
        segment = segments(batch, replay.state, pipeline.edges)
        target = labelled(union, requests, first, last) > 0
        rank = np.stack([np.nan_to_num(union.cand[f"rank_{name}"]).astype(np.int32) for name in names])
        parts.append(
            Found(tuple(names), union.offsets, rank, target, segment, np.diff(requests.offsets[first : last + 1]))
        )
        for lesson in lessons.values():
            rows = lesson.pipeline.merger.rows(union, names, segment)
            lesson.note(Trace(union=union, evidence=rows), target, REQUESTS / len(requests), split.stop)
        for name, (merger, size) in pools.items():
            chance = merger.chance(merger.rows(union, names, segment))
            pool = best(union.with_columns({"target": target}), chance, size)
            hits[name].append(np.bincount(pool.owner[pool.cand["target"]], minlength=pool.n))
    return joined(parts), {name: np.concatenate(counts) for name, counts in hits.items()}


def measure(name: str, root: Path, most: int, users: int, size: int = 0) -> dict[str, Any]:
    """One recipe: sizes, recalls and paired differences on its test window. size: of the pool, the recipe's when 0."""
    recipe = recipe_at(ROOT / "recipes" / f"{name}.toml")
    size = size or recipe.pipeline.pool
    recipe = replace(
        recipe, features={}, rankers={}, rules={}, quotas=dict.fromkeys(recipe.quotas, size),
        pipeline=replace(recipe.pipeline, pool=size * len(recipe.sources)), train=replace(recipe.train, requests=most),
    )  # fmt: skip
    data = data_for(recipe, f"{name}:{root / FOLDERS[name]}")
    *labels, final = recipe.timeline.splits(data)[-1]
    pipeline = Pipeline.of(recipe)
    ctx = context_of(recipe, data, final.cut)
    fitted = Fitted(pipeline, Replay(data.log, new_state(recipe, data, pipeline, ctx)), ctx, recipe, data)
    lessons = {
        kind.__name__.lower(): Lessons(replace(pipeline, merger=kind()), recipe.seed) for kind in (Calibrated, Learned)
    }
    windows = []
    for i, split in enumerate([*labels, final]):
        fitted.replay = advanced(fitted, split)
        pipeline.fit(recipe.timeline.training(data, split), context_of(recipe, data, split.cut))
        if split is not final:
            windows.append(asked(fitted, label_requests(fitted, split, i), split, lessons, {})[0])
    every = joined(windows)
    for lesson in lessons.values():
        lesson.teach()
    kinds = data.catalogue.kind_codes(positive_kinds(recipe, data))
    requests = recipe.timeline.requests(data, final, kinds, most=users, seed=recipe.evaluate.seed)
    quotas = {
        "tuned": greedy(every, float(size)),
        "tuned by segment": greedy(every, float(size), apart=True, rare=RARE),
    }
    merges = {kind: (lesson.pipeline.merger, size) for kind, lesson in lessons.items()}
    test, hits = asked(fitted, requests, final, {}, merges)
    rows = {}
    even = equal(test, test.judged(quotas["tuned"])[1])
    for kind, quota in {"equal": even, **quotas}.items():
        inside = test.inside(quota)
        hits[kind] = np.bincount(test.owner[inside & test.target], minlength=test.n)
        rows[kind] = {"size": inside.sum() / test.n, "quotas": dict(zip(test.names, quota[:, :].tolist(), strict=True))}
    counts = np.minimum(np.diff(offsets_of(np.diff(test.offsets))), size)
    rows |= {kind: {"size": counts.mean()} for kind in merges}
    weights = test.targets.astype(np.float64)
    for kind, row in rows.items():
        row["recall"] = hits[kind].sum() / weights.sum()
        low, high = paired(
            hits[kind] / weights, hits["equal"] / weights, requests.user, weights=weights, resamples=1000
        )
        row["more"] = [row["recall"] - hits["equal"].sum() / weights.sum(), float(low), float(high)]
    return {"set": name, "pool": size, "requests": test.n, "targets": int(weights.sum()), "merges": rows}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default="globo,ml1m,kuairand")
    parser.add_argument("--sizes", default="0", help="of the pool; 0 is the recipe's")
    parser.add_argument("--requests", type=int, default=1500)
    parser.add_argument("--users", type=int, default=6000)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    root = Path(os.environ.get("SHORTLIST_DATA", ROOT.parent / "shared" / "data"))
    for name, size in product(given.sets.split(","), given.sizes.split(",")):
        made = measure(name, root, given.requests, given.users, int(size))
        if given.json:
            print(json.dumps(made), flush=True)
            continue
        print(
            f"{name}, pool of {made['pool']}: {made['requests']} requests, {made['targets']} targets of the test window"
        )
        for kind, row in made["merges"].items():
            gain, low, high = row["more"]
            print(
                f"  {kind:18} size {row['size']:6.1f}  recall {row['recall']:.4f}  than equal {gain:+.4f} [{low:+.4f}, {high:+.4f}]  {row.get('quotas', '')}"
            )
        print(flush=True)


if __name__ == "__main__":
    main()
