"""Blend: another ranker's score and the order of the best source, in a proportion that held-out label windows choose. Where windows
differ, a ranker alone can fall below its own source; drawn towards it, it cannot fall far."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shortlist.core import rows
from shortlist.core.batch import Array, Batch
from shortlist.core.component import build, fitted, hidden, load, param, save
from shortlist.core.contracts import FitContext, Frame, Ranker
from shortlist.core.errors import BundleError, ConfigError

K = 10
INNER, ABOUT = "inner", "blend.json"


class Held:
    """Rows of requests that a ranker was not fitted on, with its score of them."""

    def __init__(self, frame: Frame, score: Array) -> None:
        self.frame, self.score = frame, score.astype(np.float64)
        batch = frame.batch
        counts = np.maximum(np.diff(batch.offsets), 1)
        mean = np.bincount(batch.owner, self.score, batch.n) / counts
        self.within = float(np.mean((self.score - mean[batch.owner]) ** 2)) if batch.m else 0.0

    def ndcg(self, score: Array) -> Array:
        """(n,) NDCG@10 of the rows ordered by a score, against the best order of the positives among them."""
        batch = self.frame.batch
        ranked = batch.with_columns({"label": self.frame.label}).take(rows.order(batch, score.astype(np.float32)))
        place = rows.run_place(ranked.offsets)
        taken = ranked.cand["label"] > 0
        gain = np.where((place < K) & taken, 1 / np.log2(place + 2), 0.0)
        ideal = np.append(0.0, np.cumsum(1 / np.log2(np.arange(K) + 2)))
        best = ideal[np.minimum(np.bincount(ranked.owner[taken], minlength=batch.n), K)]
        figures: Array = np.bincount(ranked.owner, gain, batch.n) / np.maximum(best, ideal[1])
        return figures


@dataclass
class Blend(Ranker):
    """score = f(row) / sd - weight * ln(rank of the row in the best source), with f the score of the ranker `of`, sd its deviation within
    requests, and a rank one beyond the last for what that source did not find.

    Judged by NDCG@10 over the requests of the newest window (`valid`) and of the `cutoffs` label windows before it, each scored by a
    ranker that was fitted on windows that had ended by then only. The source is the one that does best alone. The weight is the largest
    that is no more than `slack` standard errors (of the paired difference) behind the best weight: the one-standard-error rule (Breiman
    et al. 1984, 3.4.3), for a second stage has to earn its place. Without such windows, or without ranks (given impressions), the
    weight is 0. Fitted again without a newer frame, it keeps both."""

    of: dict[str, Any] = param({"type": "catboost"}, "the ranker: an entry with type and options, as in [[ranker]]")
    weights: list[float] = param([0.0, 0.25, 0.5, 1.0, 2.0], "weights that are tried")
    slack: float = param(1.0, "standard errors that a larger weight may be behind the best one", low=0.0)
    cutoffs: int = param(3, "label windows before the newest that have a say", low=0, high=20)

    blend: Array = fitted("(3,) float64: 1 / sd of the ranker's score, weight, rank of what the source did not find")
    source: str = hidden("")
    judged: dict[str, float] = hidden({})  # mean NDCG@10 of every weight, as "source x weight"
    _inner: Any = hidden(None)

    def __post_init__(self) -> None:
        if not self.weights or min(self.weights) < 0:
            raise ConfigError(f"blend.weights: {self.weights!r}: give one weight or more, none of them below 0")
        self._inner = build("rank", self.of, "blend.of")

    @property
    def curve(self) -> dict[str, list[float]]:
        """That of the ranker, where it has one."""
        return getattr(self._inner, "curve", {})

    def fit(self, frame: Frame, valid: Frame | None, ctx: FitContext) -> None:
        """Learn from a frame; with a newer one, choose source and weight as well."""
        self._inner.fit(frame, valid, ctx)
        if valid is not None:
            self._choose([Held(valid, self._inner.score(valid.batch)), *self._before(frame, ctx)])
        elif self.blend is None:
            self.blend, self.source = np.array([1.0, 0.0, 1.0]), ""

    def _before(self, frame: Frame, ctx: FitContext) -> list[Held]:
        """The newest windows of the frame, each scored by a ranker of the windows that had ended by its cut-off."""
        ended = frame.cutoff - 1 if frame.ended is None else frame.ended
        held = []
        for cutoff in np.unique(frame.cutoff)[::-1][: self.cutoffs].tolist():
            own = frame.cutoff == cutoff
            older = part_of(frame, frame.cutoff <= int(ended[own][0]))
            if (older.label > 0).any() and not (older.label > 0).all():
                judge = copy.deepcopy(self._inner)  # with as many trees as the newest window chose
                judge.fit(older, None, ctx)
                newer = part_of(frame, own)
                held.append(Held(newer, judge.score(newer.batch)))
        return held

    def _choose(self, held: list[Held]) -> None:
        """Source and weight by the mean over all held-out requests."""
        names = [name for name in held[0].frame.batch.cand if name.startswith("rank_")]
        counts = np.array([one.frame.batch.m for one in held], dtype=np.float64)
        within = float(np.sqrt(np.average([one.within for one in held], weights=np.maximum(counts, 1e-9))))
        scale = 1 / within if within > 0 else 1.0
        self.judged, self.blend, self.source = {}, np.array([scale, 0.0, 1.0]), ""
        if not names:
            return
        alone = {name: float(self._values(held, name, 0.0, 1.0).mean()) for name in names}
        self.source = max(names, key=lambda name: (alone[name], name))
        made = {weight: self._values(held, self.source, scale, weight) for weight in sorted(self.weights)}
        self.judged = {f"{self.source.removeprefix('rank_')} x {w:g}": float(value.mean()) for w, value in made.items()}
        best = max(made.values(), key=lambda value: float(value.mean()))
        near = [weight for weight, value in made.items() if _behind(best - value) <= self.slack]
        self.blend = np.array([scale, max(near), beyond(held, self.source)])

    def _values(self, held: list[Held], name: str, scale: float, weight: float) -> Array:
        """NDCG@10 of every held-out request."""
        last = beyond(held, name)
        values = [one.ndcg(one.score * scale - weight * log_rank(one.frame.batch.cand[name], last)) for one in held]
        return np.concatenate(values)

    def score(self, batch: Batch) -> Array:
        """(m,) float32."""
        if self.blend is None:
            raise ConfigError("blend: not fitted")
        scale, weight, last = (float(value) for value in self.blend)
        own = self._inner.score(batch).astype(np.float64) * scale
        if self.source and weight:
            own -= weight * log_rank(batch.cand[self.source], last)
        return np.asarray(own, dtype=np.float32)

    def importance(self) -> dict[str, float]:
        """That of the ranker, where it tells any."""
        found: dict[str, float] = self._inner.importance() if hasattr(self._inner, "importance") else {}
        return found

    def save_files(self, folder: Path) -> None:
        """The ranker in a folder of its own, the name of the source as JSON."""
        save(self._inner, folder / INNER)
        (folder / ABOUT).write_text(json.dumps({"source": self.source}))

    def load_files(self, folder: Path) -> None:
        """Read what `save_files` wrote. BundleError when it is missing or damaged."""
        try:
            self.source = str(json.loads((folder / ABOUT).read_text())["source"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BundleError(f"{folder / ABOUT}: not readable: {error}") from None
        load(self._inner, folder / INNER)


def _behind(difference: Array) -> float:
    """A mean difference in its standard errors; 0 where there is none."""
    mean = float(difference.mean())
    if mean == 0.0 or len(difference) < 2:
        return 0.0 if mean == 0.0 else float("inf")
    error = float(difference.std(ddof=1)) / float(np.sqrt(len(difference)))
    return mean / max(error, 1e-300)


def beyond(held: list[Held], name: str) -> float:
    """The rank one beyond the last that a source gave."""
    return 1 + max(float(np.nanmax(one.frame.batch.cand[name], initial=0)) for one in held)


def log_rank(rank: Array, last: float) -> Array:
    """(m,) float64 logarithm of a rank; of `last` where there is none."""
    found: Array = np.log(np.where(np.isfinite(rank), rank, last).astype(np.float64))
    return found


def part_of(frame: Frame, requests: Array) -> Frame:
    """The requests of a frame where a mask is true."""
    keep = frame.batch.spread(requests)
    ended = None if frame.ended is None else frame.ended[requests]
    return Frame(
        frame.batch.only(np.flatnonzero(requests)), frame.label[keep], frame.weight[keep], frame.cutoff[requests], frame.features, ended
    )  # fmt: skip
