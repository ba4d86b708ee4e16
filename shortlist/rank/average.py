"""Average: the weighted mean of several rankers' scores: other seeds, other columns, other losses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from shortlist.core.batch import Array, Batch
from shortlist.core.component import build, hidden, load, param, save
from shortlist.core.contracts import FitContext, Frame, Ranker
from shortlist.core.errors import ConfigError


@dataclass
class Average(Ranker):
    """score = sum of w_i f_i(row) / sum of w_i, with f_i the score of the i-th ranker of `of`, as it is: rankers of one loss speak of
    the same thing (log-odds, for Logloss); those of several do not, and the weights must make up for it. The i-th is fitted with seed + i, so
    that equal entries are not the same ranker."""

    of: list[dict[str, Any]] = param(
        [{"type": "catboost"}, {"type": "catboost"}], "the rankers: entries with type and options, as in [[ranker]]"
    )
    weights: list[float] = param([], "one per ranker; equal when empty")
    _inner: list[Any] = hidden([])

    def __post_init__(self) -> None:
        if not self.of:
            raise ConfigError("average.of is empty; write at least one ranker, for example {type = 'catboost'}")
        if not self.weights:
            self.weights = [1.0] * len(self.of)
        if len(self.weights) != len(self.of) or min(self.weights) < 0 or sum(self.weights) <= 0:
            raise ConfigError(
                f"average.weights: {self.weights!r}: give one for each of the {len(self.of)} rankers, none below 0, not all 0"
            )
        self._inner = [build("rank", entry, f"average.of[{i}]") for i, entry in enumerate(self.of)]

    @property
    def curve(self) -> dict[str, list[float]]:
        """That of the first ranker, where it has one."""
        return getattr(self._inner[0], "curve", {})

    def fit(self, frame: Frame, valid: Frame | None, ctx: FitContext) -> None:
        """Each on the same frames."""
        for i, ranker in enumerate(self._inner):
            ranker.fit(frame, valid, replace(ctx, seed=ctx.seed + i, place=f"{ctx.place or 'average'}.of[{i}]"))

    def score(self, batch: Batch) -> Array:
        """(m,) float32."""
        total = np.zeros(batch.m)
        for ranker, weight in zip(self._inner, self.weights, strict=True):
            total += weight * ranker.score(batch).astype(np.float64)
        return np.asarray(total / sum(self.weights), dtype=np.float32)

    def importance(self) -> dict[str, float]:
        """The rankers' own, averaged like the scores; of those that tell any. Largest first."""
        found: dict[str, float] = {}
        for ranker, weight in zip(self._inner, self.weights, strict=True):
            for name, gain in (ranker.importance() if hasattr(ranker, "importance") else {}).items():
                found[name] = found.get(name, 0.0) + weight / sum(self.weights) * gain
        return dict(sorted(found.items(), key=lambda entry: -entry[1]))

    def save_files(self, folder: Path) -> None:
        """Every ranker in a folder of its own."""
        for i, ranker in enumerate(self._inner):
            save(ranker, folder / str(i))

    def load_files(self, folder: Path) -> None:
        """Read what `save_files` wrote."""
        for i, ranker in enumerate(self._inner):
            load(ranker, folder / str(i))
