"""The guard: does stage two beat the best single source on the validation window? If not, say so, or fall back to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from shortlist.core import rows
from shortlist.core.batch import Array, Batch
from shortlist.core.contracts import Frame
from shortlist.metric.impressions import group_auc
from shortlist.metric.interval import entry, paired
from shortlist.pipeline.config import Recipe
from shortlist.pipeline.pipeline import Pipeline

K = 10
RATE = "baseline:item_rate"


@dataclass(frozen=True)
class Guard:
    """verdict: "ranker", or "source:NAME" (of given impressions also "baseline:item_rate") when that did at least as well;
    validation: the metric (NDCG@10, or GAUC) of each; difference: mean, low, high of ranker minus the best other, NaN for ends that
    a single user cannot tell."""

    verdict: str
    validation: dict[str, float]
    mode: str
    best: str
    difference: tuple[float, float, float]
    metric: str = f"ndcg@{K}"

    def json(self) -> dict[str, Any]:
        """As `funnel.json` holds it."""
        return {
            "verdict": self.verdict,
            "mode": self.mode,
            "metric": self.metric,
            "validation": self.validation,
            "best_source": self.best,
            "difference": entry(*self.difference),
        }


def judge(pipeline: Pipeline, valid: Frame, recipe: Recipe, notes: list[str]) -> Guard:
    """Compare on the newest label window, which the ranker was not trained on. Adds a sentence to notes when it does not win."""
    batch = valid.batch.with_columns({"label": valid.label})
    values = {"pipeline": ndcg(pipeline.rank(batch), K)}
    for name in pipeline.sources:
        hits = batch.keep(np.isfinite(batch.cand[f"rank_{name}"]))
        values[f"source:{name}"] = ndcg(hits.take(rows.order(hits, -hits.cand[f"rank_{name}"])), K)
    best = max((name for name in values if name != "pipeline"), key=lambda name: (values[name].mean(), name))
    low, high = paired(values["pipeline"], values[best], valid.batch.user, resamples=recipe.evaluate.resamples)
    gain = float(values["pipeline"].mean() - values[best].mean())
    verdict = "ranker" if gain > 0 else best
    mode = recipe.pipeline.guard
    if verdict != "ranker":
        done = (
            "the answers are ordered by that source"
            if mode == "fallback"
            else "the ranker is used all the same (guard = warn)"
        )
        notes.append(
            f"On the validation window the ranker ({values['pipeline'].mean():.4f} NDCG@{K}) does not beat {best} "
            f"({values[best].mean():.4f}): {done}."
        )
    elif not float(low) > 0:
        notes.append(
            f"On the validation window the ranker's lead over {best} is within noise: {gain:+.4f} NDCG@{K} {_ends(low, high)}."
        )
    means = {name: float(value.mean()) for name, value in values.items()}
    return Guard(verdict, means, mode, best, (gain, float(low), float(high)))


def judge_given(
    score: Array, rate: Array, valid: Frame, recipe: Recipe, sources: list[str], notes: list[str]
) -> Guard | None:
    """The same of given impressions, by GAUC: does the ranker order what one user was shown better than the live rate of the
    items does, and than any source? AUC would not tell: it rewards knowing who clicks at all. None, with a sentence, when no user
    of the window has both labels. score, rate: (m,) of the frame's rows."""
    batch = valid.batch
    users = batch.spread(batch.user)
    scores = {"pipeline": score, RATE: rate, **{f"source:{name}": batch.cand[f"score_{name}"] for name in sources}}
    if (valid.label > 0).all() or not (valid.label > 0).any():
        notes.append("The validation window has impressions of one label only: nothing could be judged there.")
        return None
    found = {name: group_auc(values, valid.label, users) for name, values in scores.items()}
    sizes = found["pipeline"][1]
    usable = np.isfinite(found["pipeline"][0])
    if not usable.any():
        notes.append("No user of the validation window has both labels: nothing could be judged there.")
        return None
    means = {name: float(np.average(values[usable], weights=sizes[usable])) for name, (values, _) in found.items()}
    best = max((name for name in means if name != "pipeline"), key=lambda name: (means[name], name))
    low, high = paired(
        found["pipeline"][0], found[best][0], np.arange(len(sizes)), weights=sizes, resamples=recipe.evaluate.resamples
    )
    gain = means["pipeline"] - means[best]
    if gain <= 0:
        notes.append(
            f"On the validation window the ranker (GAUC {means['pipeline']:.4f}) does not beat {best} ({means[best]:.4f}) within "
            "users: it knows who clicks, not what (guard = warn)."
        )
    elif not float(low) > 0:
        notes.append(
            f"On the validation window the ranker's lead over {best} within users is within noise: {gain:+.4f} GAUC "
            f"{_ends(low, high)}."
        )
    verdict = "ranker" if gain > 0 else best
    return Guard(verdict, means, recipe.pipeline.guard, best, (gain, float(low), float(high)), "gauc")


def _ends(low: Array, high: Array) -> str:
    known = np.isfinite(low) and np.isfinite(high)
    return f"[95% {float(low):+.4f}, {float(high):+.4f}]" if known else "(fewer than two users: no interval)"


def ndcg(ordered: Batch, k: int) -> Array:
    """(n,) NDCG@k of rows in the given order, from the column `label` and the request column `targets` (how many there are,
    found or not)."""
    place = rows.run_place(ordered.offsets)
    gain = np.where((place < k) & (ordered.cand["label"] > 0), 1.0 / np.log2(place + 2.0), 0.0)
    total = np.bincount(ordered.owner, weights=gain, minlength=ordered.n)
    ideal = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(k) + 2.0))])
    figures: Array = total / ideal[np.minimum(ordered.req["targets"], k)]
    return figures
