"""Tune: what a recipe leaves to judgement is chosen on its label windows, never on the test window. So far: the sources' quotas."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from shortlist.core.batch import Array
from shortlist.core.contracts import silent
from shortlist.core.errors import ConfigError
from shortlist.core.units import iso
from shortlist.data.dataset import Dataset
from shortlist.data.timeline import Requests, Split
from shortlist.experiment import given
from shortlist.experiment.fit import Fitted, advanced, context_of, label_requests, labelled, new_state
from shortlist.experiment.quotas import Found, equal, greedy, joined, marginal
from shortlist.experiment.replay import Replay, asked, batches
from shortlist.experiment.settle import settle
from shortlist.pipeline.config import Recipe
from shortlist.pipeline.pipeline import Pipeline
from shortlist.pipeline.quota import SEGMENTS, Quota, most, segments
from shortlist.pipeline.trace import Trace

RARE = 100  # requests below which a segment gets the quotas of all
TIMED = 100  # requests asked one at a time, for what a source costs
HELD = "held back"


@dataclass
class Tuned:
    """quotas: by source; 0 = leave it out. pool: the largest pool that they make. sources: a row per source; judged: recall and mean size of
    the pool with the quotas found, with equal ones of the same size, and with the recipe's own, over all windows and, chosen on those that
    ended before it began, on the newest (`held back`). cost: ms per request, and per candidate."""

    quotas: dict[str, Quota]
    pool: int
    sources: list[dict[str, Any]]
    judged: list[dict[str, Any]]
    cost: dict[str, float]
    notes: list[str]

    def json(self) -> dict[str, Any]:
        """As `shortlist tune --json` prints it."""
        return {
            "quotas": self.quotas, "pool": self.pool, "sources": self.sources, "judged": self.judged, "cost": self.cost,
            "notes": self.notes,
        }  # fmt: skip


def tune(
    recipe: Recipe,
    data: Dataset,
    *,
    pool: int = 0,
    ms: float = 0.0,
    apart: bool = False,
    requests: int = 2000,
    progress: Callable[..., Iterable[Any]] = silent,
) -> Tuned:
    """Quotas by marginal recall on the label windows of a recipe, under a mean pool of `pool` candidates (0 = the recipe's), or under
    `ms` milliseconds per request for sources, merge and features. apart: a quota for each segment of users. requests: per window, at
    most. ConfigError where there is nothing to choose."""
    if given.is_given(recipe):
        raise ConfigError("tune: pipeline.candidates = 'impressions': no source finds anything there")
    if pool and ms:
        raise ConfigError("tune: a pool and a time are two budgets; give one of them")
    pool = pool or recipe.pipeline.pool
    labels = recipe.timeline.splits(data)[-1][:-1]
    windows, cost = _windows(
        recipe, data, labels, max(pool, *map(most, recipe.quotas.values())), requests, bool(ms), progress
    )
    every = joined(windows)
    if not every.target.any():
        raise ConfigError(
            "tune: the sources found no target in the label windows: choose other sources, or longer windows"
        )
    opening = np.array([cost[name] for name in every.names])
    budget = {"budget": ms, "each": cost["candidate"], "opening": opening} if ms else {"budget": float(pool)}
    quotas = greedy(every, apart=apart, rare=RARE, **budget)
    if not quotas.any():
        raise ConfigError(f"tune: {ms} ms are not enough to ask any source; the cheapest takes {opening.min():.3f} ms")
    own = np.array([[_of(recipe.quotas[name], g) for g in SEGMENTS] for name in every.names])
    judged = [_judged("all label windows", every, quotas, own)]
    notes = [f"{len(every.offsets) - 1} requests of {len(windows)} label windows, {int(every.targets.sum())} targets"]
    if earlier(labels):
        chosen = greedy(joined(windows[: earlier(labels)]), apart=apart, rare=RARE, **budget)
        judged.append(_judged(f"{HELD}: the newest, chosen on those before it", windows[-1], chosen, own))
    else:
        notes.append("No label window ended before the newest began: the quotas are judged where they were chosen.")
    lost = marginal(every, quotas)
    sources = []
    for s, name in enumerate(every.names):
        alone = np.zeros_like(quotas)
        alone[s] = quotas[s]
        quota = _written(quotas[s])
        sources.append(
            {
                "source": name, "quota": quota if isinstance(quota, int) else dict(quota), "was": recipe.quotas[name],
                "recall": every.judged(alone)[0], "marginal_recall": float(lost[s]), "ms": cost[name],
            }
        )  # fmt: skip
    return Tuned(
        {name: _written(quotas[s]) for s, name in enumerate(every.names)},
        int(quotas.sum(axis=0).max()), sources, judged, cost, notes,
    )  # fmt: skip


def earlier(labels: list[Split]) -> int:
    """How many of the label windows, oldest first, had ended when the newest began: one that overlaps it has some of its answers. Where
    the last events of each user are the answers, windows do not lie behind each other in time, and none overlap."""
    if labels[-1].dropped is not None:
        return len(labels) - 1
    return sum(other.stop <= labels[-1].start for other in labels[:-1])


def _of(quota: Quota, segment: str) -> int:
    return quota[segment] if isinstance(quota, dict) else quota


def _written(row: Array) -> Quota:
    """One source's quotas as a recipe writes them."""
    if (row == row[0]).all():
        return int(row[0])
    return {name: int(value) for name, value in zip(SEGMENTS, row, strict=True)}


def _judged(windows: str, found: Found, quotas: Array, own: Array) -> dict[str, Any]:
    """Recall and size with the quotas found, equal ones of the same size, and the recipe's own (before any cut to the pool)."""
    recall, size = found.judged(quotas)
    row: dict[str, Any] = {"windows": windows, "recall": recall, "size": size}
    for name, other in (("equal", equal(found, size)), ("recipe", own)):
        row[f"{name}_recall"], row[f"{name}_size"] = found.judged(other)
    return row


def _windows(
    recipe: Recipe, data: Dataset, labels: list[Split], depth: int, most_requests: int, features: bool,
    progress: Callable[..., Iterable[Any]],
) -> tuple[list[Found], dict[str, float]]:  # fmt: skip
    """What the sources find in each label window, and what they cost in the newest. features: time them, too."""
    recipe = replace(
        recipe,
        train=replace(recipe.train, requests=most_requests),
        pipeline=replace(recipe.pipeline, merge="interleave", pool=depth * len(recipe.sources)),
        quotas=dict.fromkeys(recipe.quotas, depth),
        features=recipe.features if features else {},
        rankers={},
        rules={},
    )
    recipe, _ = settle(recipe, data, labels[0], context_of(recipe, data, labels[0].cut))
    pipeline = Pipeline.of(recipe)
    ctx = context_of(recipe, data, labels[-1].cut, progress)
    fitted = Fitted(pipeline, Replay(data.log, new_state(recipe, data, pipeline, ctx)), ctx, recipe, data)
    found = []
    for i, split in enumerate(labels):
        fitted.replay = advanced(fitted, split)
        if i == 0 or recipe.timeline.refit == "each":
            pipeline.fit(recipe.timeline.training(data, split), context_of(recipe, data, split.cut, progress))
        requests = label_requests(fitted, split, i)
        found.append(_found(fitted, requests, split, progress))
    return found, _cost(fitted, requests)


def _found(fitted: Fitted, requests: Requests, split: Split, progress: Callable[..., Iterable[Any]]) -> Found:
    """All that the sources return for the requests of one window, after the filters."""
    pipeline, replay, recipe = fitted.pipeline, fitted.replay, fitted.recipe
    names = list(pipeline.sources)
    parts = []
    for first, last, batch in batches(
        replay, requests, fitted.data, recipe.data.context, recipe.pipeline.chunk, progress,
        f"sources {split.name} ({iso(split.cut)})", recipe.state.freeze, recipe.state.refresh,
    ):  # fmt: skip
        union = pipeline.retrieve(batch, replay.state)
        rank = np.stack([np.nan_to_num(union.cand[f"rank_{name}"]).astype(np.int32) for name in names])
        parts.append(
            Found(
                tuple(names), union.offsets, rank, labelled(union, requests, first, last) > 0,
                segments(batch, replay.state, pipeline.edges), np.diff(requests.offsets[first : last + 1]),
            )
        )  # fmt: skip
    return joined(parts)


def _cost(fitted: Fitted, requests: Requests) -> dict[str, float]:
    """Milliseconds of each source for one request, median of TIMED; and of merge and features per candidate."""
    spent: dict[str, list[float]] = {name: [] for name in (*fitted.pipeline.sources, "candidate")}
    state, recipe = fitted.replay.state, fitted.recipe
    for i in np.linspace(0, len(requests) - 1, min(TIMED, len(requests))).astype(np.int64).tolist():
        trace = Trace()
        batch = asked(requests, i, i + 1, fitted.data, recipe.data.context)
        pool = fitted.pipeline.retrieve(batch, state, trace)
        started = time.perf_counter()
        fitted.pipeline.add_features(pool, state, trace)
        after = time.perf_counter() - started + trace.seconds["merge"]
        for name in fitted.pipeline.sources:
            spent[name].append(1000 * trace.seconds[f"source.{name}"])
        spent["candidate"].append(1000 * after / max(pool.m, 1))
    return {name: round(statistics.median(values), 6) for name, values in spent.items()}
