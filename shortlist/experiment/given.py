"""Given impressions: the features of every exposure as of its own moment, and the live rates that a model of them must beat."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from shortlist.core.batch import Array, Batch, Columns, concat
from shortlist.core.contracts import silent
from shortlist.core.units import moment, seconds
from shortlist.data import impressions
from shortlist.data.dataset import Dataset
from shortlist.data.timeline import Requests, Split
from shortlist.experiment.replay import Replay, batches
from shortlist.pipeline.config import Recipe
from shortlist.pipeline.pipeline import Pipeline
from shortlist.pipeline.trace import Trace

TOGETHER = 1024  # requests whose features are handed on as one batch: rankers score thousands of rows as fast as one
PRIOR = 20.0  # impressions at the overall rate, added to every item's own


def is_given(recipe: Recipe) -> bool:
    """Are the candidates what was shown?"""
    return recipe.pipeline.candidates == "impressions"


def requests(
    recipe: Recipe,
    data: Dataset,
    split: Split,
    positive: Array,
    *,
    most: int = 0,
    users: int = 0,
    seed: int = 0,
    training: bool = False,
) -> Requests:
    """The requests that a window's impressions make, with the recipe's grades: see `data/impressions.py`."""
    kinds = data.catalogue.kind_codes
    grades = {int(kinds([name], "train.grades")[0]): value for name, value in recipe.train.grades.items()}
    return impressions.requests(
        data, split, kinds([recipe.data.impression], "data.impression"), impressions.grades_of(positive, grades),
        seconds(recipe.data.within), most=most, users=users, seed=seed, training=training,
        held=recipe.timeline.held_out(data) if training else None,
    )  # fmt: skip


def featured(
    pipeline: Pipeline,
    replay: Replay,
    asked: Requests,
    data: Dataset,
    recipe: Recipe,
    progress: Callable[..., Iterable[Any]] = silent,
    title: str = "requests",
    trace: Trace | None = None,
) -> Iterator[tuple[int, int, Batch]]:
    """Requests first to last with every feature, each with the state as of its own position, some hundreds at a time. Request
    columns besides the usual: `at`, the log position; `warm`, whether the user had a history."""
    parts: list[Batch] = []
    begin = 0
    for first, last, batch in batches(
        replay,
        asked,
        data,
        recipe.data.context,
        recipe.pipeline.chunk,
        progress,
        title,
        recipe.state.freeze,
        recipe.state.refresh,
    ):
        pool = pipeline.retrieve(batch, replay.state, trace)
        if pipeline.rankers:
            pool = pipeline.add_features(pool, replay.state, trace, True)
        more: Columns = {
            "at": asked.position[first:last],
            "warm": np.diff(replay.state.history(batch.user, 1).offsets) > 0,
        }
        parts.append(Batch({**pool.req, **more}, pool.offsets, pool.cand))
        if last - begin >= TOGETHER or last == len(asked):
            every = concat(parts)
            yield begin, last, pipeline.add_features(every, replay.state, trace, False) if pipeline.rankers else every
            parts, begin = [], last


def item_rates(recipe: Recipe, data: Dataset, positive: Array, batch: Batch) -> Array:
    """(m,) float64 rate of each candidate's item as of its request: impressions that were answered over impressions, smoothed, and
    counted from `timeline.train_from` on. Always live, whatever is frozen. batch: with the request column `at`."""
    log = data.log
    start = log.position(moment(recipe.timeline.train_from)) if recipe.timeline.train_from else 0
    shown = data.catalogue.kind_codes([recipe.data.impression], "data.impression")
    found = impressions.join(log, shown, impressions.grades_of(positive, {}), seconds(recipe.data.within), start)
    at = batch.spread(batch.req["at"])
    order = np.argsort(at, kind="stable")
    out = np.empty(batch.m)
    out[order] = impressions.rates(log, found, at[order], batch.item[order], PRIOR)
    return out


def overall_rate(recipe: Recipe, data: Dataset, positive: Array, split: Split) -> float:
    """The rate of all impressions before a split together, with one positive and one negative beforehand."""
    log = data.log
    start = log.position(moment(recipe.timeline.train_from)) if recipe.timeline.train_from else 0
    shown = data.catalogue.kind_codes([recipe.data.impression], "data.impression")
    grades = impressions.grades_of(positive, {})
    found = impressions.join(log, shown, grades, seconds(recipe.data.within), start, split.start)
    return (float((found.grade > 0).sum()) + 1.0) / (len(found.rows) + 2.0)
