"""What does a pool of the same size hold, however it is merged? Quotas by marginal recall and fitted merges are chosen on the label windows
of a recipe, and judged once on its test window, beside equal quotas of the same mean size. Recall is the share of all targets; differences
are paired, with a 95% bootstrap interval over users. No ranker is fitted.

    python bench/merging.py [--sets globo,ml1m,kuairand] [--sizes 100,200] [--requests 1500] [--users 6000] [--json] [--rolling [--test]]

--rolling: instead, every label window is judged by quotas that were chosen on those that ended before it began, where there are at least
EARLIER of them; all origins pooled. The test window is not looked at, unless with --test: then it is the last origin.
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
EARLIER = 2  # label windows that quotas are chosen on, at least
APART: dict[str, dict[str, Any]] = {
    "tuned": {},
    "tuned by segment": {"apart": True, "rare": RARE},
}  # how they are chosen


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


def begun(name: str, root: Path, most: int, size: int, options: list[str]) -> tuple[Fitted, list[Split], int]:
    """A recipe's sources, each asked for `size` items (0: the recipe's pool), nothing fitted yet; its splits; and the size."""
    recipe = recipe_at(ROOT / "recipes" / f"{name}.toml", options)
    size = size or recipe.pipeline.pool
    recipe = replace(
        recipe, features={}, rankers={}, rules={}, quotas=dict.fromkeys(recipe.quotas, size),
        pipeline=replace(recipe.pipeline, pool=size * len(recipe.sources)), train=replace(recipe.train, requests=most),
    )  # fmt: skip
    data = data_for(recipe, f"{name}:{root / FOLDERS[name]}")
    splits = recipe.timeline.splits(data)[-1]
    pipeline = Pipeline.of(recipe)
    ctx = context_of(recipe, data, splits[-1].cut)
    return Fitted(pipeline, Replay(data.log, new_state(recipe, data, pipeline, ctx)), ctx, recipe, data), splits, size


def stand(fitted: Fitted, split: Split) -> None:
    """Sources fitted and the state replayed as of a split."""
    fitted.replay = advanced(fitted, split)
    ctx = context_of(fitted.recipe, fitted.data, split.cut)
    fitted.pipeline.fit(fitted.recipe.timeline.training(fitted.data, split), ctx)


def rolling(name: str, root: Path, most: int, users_of: int, size: int, options: list[str]) -> dict[str, Any]:
    """One recipe: quotas chosen on the label windows that ended before a window began, judged on that one; origins pooled. users_of: of the
    test window, at most, which is one origin more; 0: it is not looked at."""
    fitted, (*labels, final), size = begun(name, root, most, size, options)
    kinds = fitted.data.catalogue.kind_codes(positive_kinds(fitted.recipe, fitted.data))
    windows: list[tuple[Split, Found]] = []
    told: dict[str, list[Array]] = {kind: [] for kind in APART}
    even: dict[str, list[Array]] = {kind: [] for kind in told}
    users, weights = [], []
    origins: list[dict[str, float]] = []
    for i, split in enumerate([*labels, final] if users_of else labels):
        stand(fitted, split)
        if split is final:
            seed = fitted.recipe.evaluate.seed
            requests = fitted.recipe.timeline.requests(fitted.data, final, kinds, most=users_of, seed=seed)
        else:
            requests = label_requests(fitted, split, i)
        found = asked(fitted, requests, split, {}, {})[0]
        before = [other for known, other in windows if known.stop <= split.start]
        windows.append((split, found))
        if len(before) < EARLIER:
            continue
        users.append(requests.user)
        weights.append(found.targets)
        origins.append({"cut": split.cut, "requests": found.n, "targets": int(found.targets.sum())})
        for kind, apart in APART.items():
            quotas = greedy(joined(before), float(size), **apart)
            told[kind].append(in_pool(found, quotas))
            even[kind].append(in_pool(found, equal(found, found.judged(quotas)[1])))
            origins[-1][kind] = float((told[kind][-1] - even[kind][-1]).sum() / found.targets.sum())
    if not origins:
        raise SystemExit(f"{name}: no label window begins after {EARLIER} others have ended: give it more cut-offs")
    count = np.concatenate(weights).astype(np.float64)
    user = np.concatenate(users)
    rows = {}
    for kind in told:
        ours, theirs = np.concatenate(told[kind]), np.concatenate(even[kind])
        low, high = paired(ours / count, theirs / count, user, weights=count, resamples=1000)
        rows[kind] = {
            "recall": ours.sum() / count.sum(),
            "more": [float((ours - theirs).sum() / count.sum()), float(low), float(high)],
        }
    return {
        "set": name, "pool": size, "requests": len(user), "users": len(np.unique(user)), "targets": int(count.sum()),
        "origins": origins, "merges": rows,
    }  # fmt: skip


def in_pool(found: Found, quotas: Array) -> Array:
    """(n,) targets of each request in the pool that the quotas make."""
    return np.bincount(found.owner[found.inside(quotas) & found.target], minlength=found.n)


def measure(name: str, root: Path, most: int, users: int, size: int, options: list[str]) -> dict[str, Any]:
    """One recipe: sizes, recalls and paired differences on its test window. size: of the pool, the recipe's when 0."""
    fitted, (*labels, final), size = begun(name, root, most, size, options)
    recipe, data, pipeline = fitted.recipe, fitted.data, fitted.pipeline
    lessons = {
        kind.__name__.lower(): Lessons(replace(pipeline, merger=kind()), recipe.seed) for kind in (Calibrated, Learned)
    }
    windows = []
    for i, split in enumerate([*labels, final]):
        stand(fitted, split)
        if split is not final:
            windows.append(asked(fitted, label_requests(fitted, split, i), split, lessons, {})[0])
    every = joined(windows)
    for lesson in lessons.values():
        lesson.teach()
    kinds = data.catalogue.kind_codes(positive_kinds(recipe, data))
    requests = recipe.timeline.requests(data, final, kinds, most=users, seed=recipe.evaluate.seed)
    quotas = {kind: greedy(every, float(size), **apart) for kind, apart in APART.items()}
    merges = {kind: (lesson.pipeline.merger, size) for kind, lesson in lessons.items()}
    test, hits = asked(fitted, requests, final, {}, merges)
    rows = {}
    even = equal(test, test.judged(quotas["tuned"])[1])
    for kind, quota in {"equal": even, **quotas}.items():
        hits[kind] = in_pool(test, quota)
        rows[kind] = {"size": test.judged(quota)[1], "quotas": dict(zip(test.names, quota[:, :].tolist(), strict=True))}
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
    parser.add_argument("--rolling", action="store_true", help="judge label windows by those before them")
    parser.add_argument("--test", action="store_true", help="with --rolling: the test window, too")
    parser.add_argument("--set", action="append", default=[], help="of the recipes: table.option=value")
    given = parser.parse_args()
    root = Path(os.environ.get("SHORTLIST_DATA", ROOT.parent / "shared" / "data"))
    for name, size in product(given.sets.split(","), given.sizes.split(",")):
        if given.rolling:
            made = rolling(name, root, given.requests, given.users if given.test else 0, int(size), given.set)
        else:
            made = measure(name, root, given.requests, given.users, int(size), given.set)
        if given.json:
            print(json.dumps(made), flush=True)
            continue
        print(
            f"{name}, pool of {made['pool']}: {made['requests']} requests, {made['targets']} targets of "
            + (f"{len(made['origins'])} origins, {made['users']} users" if given.rolling else "the test window")
        )
        for kind, row in made["merges"].items():
            gain, low, high = row["more"]
            print(
                f"  {kind:18} size {row.get('size', made['pool']):6.1f}  recall {row['recall']:.4f}  than equal {gain:+.4f} [{low:+.4f}, {high:+.4f}]  {row.get('quotas', '')}"
            )
        print(flush=True)


if __name__ == "__main__":
    main()
