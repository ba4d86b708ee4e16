"""The guard: does stage two beat the best single source on the validation window? If not, say so, or fall back to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from shortlist.core import rows
from shortlist.core.batch import Array, Batch
from shortlist.core.contracts import Frame
from shortlist.metric.interval import paired
from shortlist.pipeline.config import Recipe
from shortlist.pipeline.pipeline import Pipeline

K = 10


@dataclass(frozen=True)
class Guard:
    """verdict: "ranker", or "source:NAME" when that source did at least as well; validation: NDCG@10 of each; difference: mean,
    low, high of ranker minus best source."""

    verdict: str
    validation: dict[str, float]
    mode: str
    best: str
    difference: tuple[float, float, float]

    def json(self) -> dict[str, Any]:
        """As `funnel.json` holds it."""
        value, low, high = self.difference
        return {
            "verdict": self.verdict,
            "mode": self.mode,
            "validation": self.validation,
            "best_source": self.best,
            "difference": {"value": value, "low": low, "high": high},
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
    elif float(low) <= 0:
        notes.append(
            f"On the validation window the ranker's lead over {best} is within noise: {gain:+.4f} NDCG@{K} "
            f"[95% {float(low):+.4f}, {float(high):+.4f}]."
        )
    means = {name: float(value.mean()) for name, value in values.items()}
    return Guard(verdict, means, mode, best, (gain, float(low), float(high)))


def ndcg(ordered: Batch, k: int) -> Array:
    """(n,) NDCG@k of rows in the given order, from the column `label` and the request column `targets` (how many there are,
    found or not)."""
    place = rows.run_place(ordered.offsets)
    gain = np.where((place < k) & (ordered.cand["label"] > 0), 1.0 / np.log2(place + 2.0), 0.0)
    total = np.bincount(ordered.owner, weights=gain, minlength=ordered.n)
    ideal = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(k) + 2.0))])
    figures: Array = total / ideal[np.minimum(ordered.req["targets"], k)]
    return figures
