"""Vectors: the numbers themselves of an item's vector and of the history's, for rankers that can make something of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shortlist.core.batch import Array, Batch, Columns
from shortlist.core.component import param
from shortlist.core.contracts import FitContext, State
from shortlist.data.log import Log
from shortlist.feature._space import Compared


@dataclass
class Vectors(Compared):
    """`<name>/item/0` ... of the candidate and `<name>/user/0` ... of the history, folded in as for `similarity`. NaN where there is none;
    an origin of fewer dimensions than `dim` leaves the rest NaN, so that the columns are the same at every cut-off. Of `als`
    and `svd` only the subspace is determined, so a number means something within one fit: train and serve with the same
    (`timeline.refit = "first"`) or prefer `similarity`, which no rotation changes."""

    vectors: str = param("svd", "where the vectors come from: svd, als, content, text or item.<vector column>")
    dim: int = param(16, "how many numbers of each; of a given column the first so many", low=1, high=1024)
    columns: list[str] = param(["*"], "item columns of content and text; * = all that repeat, or all that are prose")
    item: bool = param(True, "the candidate's vector")
    user: bool = param(True, "the history's vector")

    def fit(self, log: Log, ctx: FitContext) -> None:
        """Vectors as of the cut-off."""
        self.learn(self.vectors, log, ctx, self.dim, self.columns)

    def compute(self, batch: Batch, state: State) -> Columns:
        """Float32 columns of length m."""
        columns: Columns = {}
        if self.item:
            code = batch.item
            known = (code >= 0) & (code < len(self.items))
            rows = np.full((batch.m, self.items.shape[1]), np.nan, dtype=np.float32)
            rows[known] = self.items[code[known]]
            columns |= self._named("item", rows)
        if self.user:
            made = self.users(self.vectors, self.evidence(batch, state))
            columns |= self._named("user", batch.spread(made))
        return columns

    def _named(self, title: str, rows: Array) -> Columns:
        none = np.full(len(rows), np.nan, dtype=np.float32)
        wide = rows.shape[1]
        return {
            f"{self._name}/{title}/{c}": np.ascontiguousarray(rows[:, c]) if c < wide else none for c in range(self.dim)
        }
