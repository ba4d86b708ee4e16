"""HybridSVD: the SVD in which items are near each other by what they are, too (Frolov & Oseledets, "HybridSVD: When Collaborative
Information is Not Enough", RecSys 2019)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import linalg, sparse

from shortlist.core.batch import Array, Batch
from shortlist.core.component import fitted, param
from shortlist.core.contracts import FitContext, Hits, Mask, State
from shortlist.data.log import Log
from shortlist.data.matrix import compact, interactions
from shortlist.learn import content, svd
from shortlist.retrieve._evidence import evidence
from shortlist.retrieve._inner import Inner

MOST_IN_WHOLE = 6000  # items of whose similarity a dense root is made: 290 MB, and as much beside it for a moment


@dataclass
class Hybridsvd(Inner):
    """With R the binary user x item matrix (columns times norm ^ (scale - 1)) and S = (1 - weight) I + weight C the likeness of items,
    C of 1 on its diagonal, and S = L L': R L = U diag(s) W', cut to d. A request's scores are x L W W' L^-1, x its history (eq. 7
    and 8 of the paper). weight 0 is PureSVD. `likeness`, C of two items: cosine: of their attributes, weighted by TF-IDF, a column
    of attributes as much as another. common: how many values of the columns both have / the most that an item has.

    An item without an event, but with attributes, is scored by the mean of the vectors of the items like it, weighted by likeness, so it
    can be found. L is made from the `rank` strongest directions of the attributes; where that is fewer than there are, or there are few for
    so many items, it never takes items x items memory. NaN in `full` for
    items with neither, and everywhere for a request without an item that has a vector.
    """

    d: int = param(64, "singular vectors kept", low=1, high=1024)
    scale: float = param(1.0, "power of the popularity that is left in the columns: 1 = all, 0 = none", low=-2, high=2)
    weight: float = param(0.3, "share of the attributes in the similarity of items", low=0, high=0.99)
    likeness: str = param("cosine", "how like two items are by their attributes", options=("cosine", "common"))
    by: list[str] = param(["*"], "item category or tags columns; * = all whose values repeat")
    text: list[str] = param([], "item columns of text; * = all that are prose")
    grams: int = param(0, "length of character n-grams of the text; 0 = words", low=0, high=8)
    rank: int = param(256, "directions of the attributes that count", low=1)
    last: int = param(0, "newest distinct items of the history that are looked at; 0 = all that are kept", low=0)
    decay: float = param(1.0, "weight of each older item of the history against the one after it", low=0, high=1)
    event: tuple[str, ...] = param((), "event kinds learned from and looked at; the positive kinds when empty")
    kinds: Array = fitted("int8 codes of the event kinds")
    asks: Array = fitted("(items, d) float32 S^(1/2) W: what a history is made of")
    items: Array = fitted("(items, d) float32: what is scored; NaN where an item has neither event nor attribute")

    def fit(self, log: Log, ctx: FitContext) -> None:
        """Decompose."""
        self.kinds = ctx.kinds(self.event)
        log = log.of_kinds(self.kinds)
        table = ctx.catalogue.items
        size = max(int(log.item.max(initial=-1)) + 1, table.listed)
        matrix = interactions(*compact(log), size)
        events = np.bincount(matrix.indices, minlength=size)
        matrix.data = np.sqrt(events)[matrix.indices] ** (self.scale - 1.0)
        place = ctx.place or "hybridsvd"
        known = content.matrix(table, self.by, self.text, self.grams, place)
        common = self.likeness == "common"
        terms = content.terms(table, self.by, self.text, self.grams, place) if common else known
        root = (Whole if in_whole(terms, self.rank) else Root).of(terms, size, self.weight, self.rank)
        forth, back = matrix.astype(np.float64), matrix.T.tocsr().astype(np.float64)
        vectors, _ = svd.of_gram(lambda x: root.back(back @ (forth @ root.times(x))), size, self.d, ctx.seed)
        something = np.flatnonzero((events > 0) | root.filled)
        asks, scored = root.times(vectors), root.inverse_back(vectors)
        new = np.flatnonzero((events == 0) & root.filled)
        scored[new] = likened(known, scored, events > 0)[new]
        self.asks = svd.spread(asks[something], something, size)
        self.items = svd.spread(scored[something], something, size)
        self.indexed(self.items, log, self.kinds, self.fold_in, ctx.seed)

    def fold_in(self, offsets: Array, items: Array, weights: Array) -> Array:
        """(n, d) float32 vectors x S^(1/2) W of users with these histories; NaN without an item that has a vector."""
        return svd.project(offsets, items, weights, self.asks)

    def retrieve(self, batch: Batch, state: State, k: int, allowed: Mask | None) -> Hits:
        """See Source."""
        asked = evidence(batch, state, self.kinds, self.last, self.decay)
        vectors = self.fold_in(asked.offsets, asked.items, asked.weights)
        return self.best(vectors, self.items, len(state.catalogue.items), k, allowed)


def in_whole(rows: sparse.csr_array, rank: int) -> bool:
    """Is the dense root of the whole similarity cheaper than one of its directions, and the same?"""
    directions = min(rows.shape)
    return rank >= directions > rows.shape[0] // 2 and rows.shape[0] <= MOST_IN_WHOLE


def likened(rows: sparse.csr_array, vectors: Array, known: Array) -> Array:
    """(items, d) mean of the vectors of known items, weighted by the cosine of attributes; 0 where nothing is alike. A mean, not the
    sum (S V)_i, which would put items like many others above all that people really met.

    rows: (listed, terms) unit rows, not negative; vectors: (items, d); known: (items,) bool."""
    listed = rows.shape[0]
    whole = np.concatenate([vectors, np.ones((len(vectors), 1))], axis=1) * known[:, None]
    out = np.zeros_like(vectors)
    sums = rows @ (rows.T @ whole[:listed])
    out[:listed] = sums[:, :-1] / np.maximum(sums[:, -1:], 1e-12)
    return out


@dataclass(frozen=True)
class Root:
    """L with L L' = S = D + G G', D diagonal: diag(plain) (I + directions diag(extra) directions'), the right factor being the symmetric
    root of I + D^(-1/2) G G' D^(-1/2)."""

    plain: Array  # (items,) D^(1/2)
    directions: Array  # (items, r) orthonormal
    extra: Array  # (r,)
    extra_inverse: Array  # (r,)
    filled: Array  # (items,) bool: has attributes

    @classmethod
    def of(cls, rows: sparse.csr_array, size: int, weight: float, rank: int) -> Root:
        """Of S = (1 - weight) I + weight C, C = rows rows' / the longest row's square with 1 on its diagonal.

        rows: (listed, terms) unit rows, or rows of 1; items beyond them have none."""
        listed = rows.shape[0]
        filled, length, longest = _lengths(rows, size)
        plain = np.sqrt(1 - weight * length / longest)
        scaled = sparse.csr_array(rows.multiply((np.sqrt(weight / longest) / plain[:listed])[:, None]))
        left, values = _left(scaled, rank)
        directions = np.zeros((size, len(values)))
        directions[:listed] = left
        whole = np.sqrt(1 + values**2)
        return cls(plain, directions, whole - 1, 1 / whole - 1, filled)

    def times(self, x: Array) -> Array:
        """L times (items,) or (items, k)."""
        return _rows(self._core(x, self.extra), self.plain)

    def back(self, x: Array) -> Array:
        """L' times the same."""
        return self._core(_rows(x, self.plain), self.extra)

    def inverse_back(self, x: Array) -> Array:
        """The inverse of L' times the same."""
        return _rows(self._core(x, self.extra_inverse), 1 / self.plain)

    def _core(self, x: Array, extra: Array) -> Array:
        return np.asarray(x + self.directions @ _rows(self.directions.T @ x, extra))


@dataclass(frozen=True)
class Whole:
    """L the Cholesky factor of the same S: other vectors than with `Root`, the same scores. Items that are not listed are like themselves
    only."""

    factor: Array  # (listed, listed) lower triangle
    filled: Array  # (items,) bool: has attributes

    @classmethod
    def of(cls, rows: sparse.csr_array, size: int, weight: float, rank: int) -> Whole:
        """As `Root.of`, of all directions: `rank` is not below their number."""
        filled, _, longest = _lengths(rows, size)
        alike = np.asarray((rows @ rows.T).todense(), dtype=np.float64) * (weight / longest)
        np.fill_diagonal(alike, 1.0)
        return cls(linalg.cholesky(alike, lower=True, overwrite_a=True), filled)

    def times(self, x: Array) -> Array:
        """See Root."""
        return self._listed(x, self.factor.__matmul__)

    def back(self, x: Array) -> Array:
        """See Root."""
        return self._listed(x, self.factor.T.__matmul__)

    def inverse_back(self, x: Array) -> Array:
        """See Root."""
        return self._listed(x, lambda own: linalg.solve_triangular(self.factor, own, trans="T", lower=True))

    def _listed(self, x: Array, change: Callable[[Array], Array]) -> Array:
        """Rows of listed items changed, the others as they are."""
        listed = len(self.factor)
        return np.concatenate([change(x[:listed]), x[listed:]])


def _lengths(rows: sparse.csr_array, size: int) -> tuple[Array, Array, float]:
    """Of every item, has it attributes, and the square of its row; and the largest of these (1 where all are 0)."""
    listed = rows.shape[0]
    filled, length = np.zeros(size, dtype=bool), np.zeros(size)
    filled[:listed] = np.diff(rows.indptr) > 0
    length[:listed] = np.asarray(rows.power(2).sum(axis=1)).ravel()
    return filled, length, float(length.max(initial=0)) or 1.0


def _rows(x: Array, scale: Array) -> Array:
    """(rows,) or (rows, k), each row times its scale."""
    return np.asarray(scale * x if x.ndim == 1 else scale[:, None] * x)


def _left(rows: sparse.csr_array, rank: int) -> tuple[Array, Array]:
    """(rows, r) left singular vectors of the r <= rank largest singular values, and those; by the shorter side, all in float64."""
    turned = sparse.csr_array(rows.T)
    if min(rows.shape) == 0:
        return np.zeros((rows.shape[0], 0)), np.zeros(0)
    if rows.shape[0] < rows.shape[1]:
        return svd.of_gram(lambda x: rows @ (turned @ x), rows.shape[0], rank)
    right, values = svd.of_gram(lambda x: turned @ (rows @ x), rows.shape[1], rank)
    return (rows @ right) / values, values
