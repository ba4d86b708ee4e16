"""iALS that also knows what items are: attributes are rows beside the users (as in collective matrix factorisation, Singh & Gordon,
KDD 2008), so that an item without an event has a vector; or the items' vectors are their attributes alone, and only users are
solved for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from shortlist.core.batch import Array, Batch
from shortlist.core.component import fitted, param
from shortlist.core.contracts import FitContext, Hits, Mask, State
from shortlist.core.rng import rng
from shortlist.data.log import Log
from shortlist.data.matrix import compact, interactions
from shortlist.learn import als, content
from shortlist.retrieve._evidence import evidence
from shortlist.retrieve._inner import Inner


@dataclass
class AlsContent(Inner):
    """The loss of `ials` over the user x item matrix with one more row per attribute value or word: an item's entries in them are its
    TF-IDF row, scaled to sum to `side` events, so that it is pulled towards its users and towards items like it. With `fixed`,
    item vectors are the `d` strongest directions of the attributes and never move: one half-step from content to the user.

    A request is folded in by one exact user step from its history. NaN in `full` for items with neither event nor attribute,
    and everywhere for a request without an item that has a vector.
    """

    d: int = param(64, "length of the vectors", low=1, high=1024)
    epochs: int = param(16, "passes over users and items", low=1)
    side: float = param(1.0, "weight of an item's attributes together, in events", low=0)
    fixed: bool = param(False, "item vectors from attributes alone")
    by: list[str] = param(["*"], "item category or tags columns; * = all whose values repeat")
    text: list[str] = param([], "item columns of text; * = all that are prose")
    grams: int = param(0, "length of character n-grams of the text; 0 = words", low=0, high=8)
    balance: float = param(16.0, "weight of all pairs together against that of the observed ones", low=1e-6)
    alpha0: float = param(0.0, "weight of a pair that did not happen; 0 = as `balance` says", low=0)
    reg: float = param(0.0, "L2 penalty; 0 = in proportion to what a row's events weigh", low=0)
    nu: float = param(1.0, "how the penalty grows with frequency: 0 = not at all, 1 = in proportion", low=0, high=1)
    spread: float = param(0.1, "standard deviation of the first vectors, times sqrt(d)", low=1e-6)
    block: int = param(128, "longer vectors are fitted by steps in subspaces of this size (iALS++); 0 = never", low=0)
    last: int = param(0, "newest distinct items of the history that are looked at; 0 = all that are kept", low=0)
    decay: float = param(1.0, "weight of each older item of the history against the one after it", low=0, high=1)
    event: tuple[str, ...] = param((), "event kinds learned from and looked at; the positive kinds when empty")
    kinds: Array = fitted("int8 codes of the event kinds")
    items: Array = fitted("(items, d) float32 item vectors, in the basis in which their Gram matrix is diagonal")
    diagonal: Array = fitted("(d,) float32: the diagonal of that Gram matrix")
    count: Array = fitted("(1,) int64: how many items have a vector")
    pairs: Array = fitted("(2,) float64: alpha0, the weight of a pair that did not happen, and the penalty")

    def fit(self, log: Log, ctx: FitContext) -> None:
        """Alternate for `epochs` passes, or take the attributes' directions."""
        self.kinds = ctx.kinds(self.event)
        log = log.of_kinds(self.kinds)
        table = ctx.catalogue.items
        size = max(int(log.item.max(initial=-1)) + 1, table.listed)
        matrix = interactions(*compact(log), size)
        known = content.matrix(table, self.by, self.text, self.grams, ctx.place or "als_content")
        met = np.bincount(matrix.indices, minlength=size) > 0
        self.pairs = np.array(als.strengths(matrix[:, met], self.alpha0, self.balance, self.reg))
        vectors = np.full((size, self.d), np.nan, dtype=np.float32)
        if self.fixed:
            made = content.dense(known, self.d)
            vectors[: table.listed, : made.shape[1]] = made
            vectors[: table.listed, made.shape[1] :] = np.where(np.isnan(made[:, :1]), np.nan, 0) if made.size else 0
            has = ~np.isnan(vectors[:, 0])
            vectors[has], self.diagonal = als.diagonalised(vectors[has])
        else:
            whole = self._with_attributes(matrix, known, size)
            has = np.bincount(whole.indices, minlength=size) > 0
            described = sparse.csr_array(whole[:, has])
            first = rng(ctx.seed, "als_content").standard_normal((int(has.sum()), self.d))
            vectors[has], self.diagonal = als.factors(
                described, first * (self.spread / np.sqrt(self.d)), self.loss,
                epochs=self.epochs, block=self.block, progress=ctx.progress, title="als_content",
            )  # fmt: skip
        self.items, self.count = vectors, np.array([has.sum()])
        self.indexed(self.items, log, self.kinds, self.fold_in, ctx.seed)

    def _with_attributes(self, matrix: sparse.csr_array, known: sparse.csr_array, size: int) -> sparse.csr_array:
        """The matrix with a row per attribute that some item has."""
        if not known.nnz or self.side <= 0:
            return matrix
        # Entries of an item sum to `side`: rich descriptions do not shout down poor ones.
        rows = np.repeat(np.arange(known.shape[0]), np.diff(known.indptr))
        sums = np.bincount(rows, known.data, known.shape[0])
        weights = (self.side * known.data / sums[rows]).astype(np.float32)
        used, terms = np.unique(known.indices, return_inverse=True)
        below = sparse.csr_array((weights, (terms, rows)), shape=(len(used), size))
        return sparse.csr_array(sparse.vstack([matrix, below], format="csr"))

    @property
    def loss(self) -> als.Loss:
        """What is minimised."""
        return als.Loss(float(self.pairs[0]), float(self.pairs[1]), self.nu)

    def fold_in(self, offsets: Array, items: Array, weights: Array) -> Array:
        """(n, d) float32 vectors of users with these histories; NaN without an item that has a vector."""
        return als.fold_in(offsets, items, weights, self.items, self.diagonal, self.loss, int(self.count[0]))

    def retrieve(self, batch: Batch, state: State, k: int, allowed: Mask | None) -> Hits:
        """See Source."""
        asked = evidence(batch, state, self.kinds, self.last, self.decay)
        vectors = self.fold_in(asked.offsets, asked.items, asked.weights)
        return self.best(vectors, self.items, len(state.catalogue.items), k, allowed)
