"""Text: how near a candidate's title, description or other prose is to that of the history."""

from __future__ import annotations

from dataclasses import dataclass

from shortlist.core.batch import Batch, Columns
from shortlist.core.component import param
from shortlist.core.contracts import FitContext, State
from shortlist.data.log import Log
from shortlist.feature._space import Compared


@dataclass
class Text(Compared):
    """The columns of `similarity` (`<name>/max`, `/mean`, `/last`, `/dot`, `/norm`) by vectors of texts: TF-IDF of words or character n-grams
    on its `dim` strongest directions, or the sentence embeddings of a model in a local folder. The model is needed for the fit only;
    nothing is downloaded."""

    columns: list[str] = param(["*"], "item columns of text, one after another; * = all that are prose")
    dim: int = param(64, "length of the vectors; a model has its own", low=1, high=1024)
    grams: int = param(0, "length of character n-grams; 0 = words", low=0, high=8)
    model: str = param("", "local folder of a sentence-embedding model; empty = TF-IDF")

    def fit(self, log: Log, ctx: FitContext) -> None:
        """Vectors of the listed items."""
        self.learn("text", log, ctx, self.dim, self.columns, self.grams, self.model)

    def compute(self, batch: Batch, state: State) -> Columns:
        """Five float32 columns of length m."""
        return self.similarities("text", batch, state)
