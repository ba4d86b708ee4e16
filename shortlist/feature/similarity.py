"""Similarity: how near a candidate is to the history, by vectors that are learned from events or made from what items are."""

from __future__ import annotations

from dataclasses import dataclass

from shortlist.core.batch import Batch, Columns
from shortlist.core.component import param
from shortlist.core.contracts import FitContext, State
from shortlist.data.log import Log
from shortlist.feature._space import Compared


@dataclass
class Similarity(Compared):
    """Per candidate `<name>/max`, `/mean` (weighted by `decay`) and `/last` (the newest item that has a vector): its cosine to the distinct items of the
    history's newest `last` events. `<name>/dot`: its inner product with the history's vector (svd: the sum of its items' rows of V;
    als: one least-squares step; else the weighted mean). `<name>/norm`: the length of its vector. NaN where the history has no item
    with a vector, or the candidate has none, as one that came after the fit.

    vectors: `svd` (cosines of V diag(s), as of the smoothed item columns; inner products of V), `als`, `content` (TF-IDF of categories
    and tags on their strongest directions), `text` (the same of prose), or `item.<column>` of vectors that came with the items.
    """

    vectors: str = param("svd", "where the vectors come from: svd, als, content, text or item.<vector column>")
    dim: int = param(64, "length of the vectors, where they are made here", low=1, high=1024)
    columns: list[str] = param(["*"], "item columns of content and text; * = all that repeat, or all that are prose")

    def fit(self, log: Log, ctx: FitContext) -> None:
        """Vectors as of the cut-off."""
        self.learn(self.vectors, log, ctx, self.dim, self.columns)

    def compute(self, batch: Batch, state: State) -> Columns:
        """Five float32 columns of length m."""
        return self.similarities(self.vectors, batch, state)
