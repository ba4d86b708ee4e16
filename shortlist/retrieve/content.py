"""Content: items like those of the history, by what is known of them. An item needs no event to be found."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy import sparse

from shortlist.core.batch import Array, Batch
from shortlist.core.component import fitted, hidden, param
from shortlist.core.contracts import FitContext, Hits, Mask, State
from shortlist.core.errors import ConfigError
from shortlist.data.catalogue import Catalogue, Table
from shortlist.data.log import Log
from shortlist.index.top import top
from shortlist.learn import content, svd
from shortlist.retrieve._evidence import Evidence, evidence
from shortlist.retrieve._inner import Inner


@dataclass
class Content(Inner):
    """Score of an item = the sum over the history of weight * cosine of the two items (`mean`, Rocchio's profile: Pazzani & Billsus, 2007),
    or the best single cosine of them (`max`), which answers several interests side by side. Cosines are of TF-IDF rows of
    categories, tags and texts, or of a column of vectors that came with the items. What items get or change while serving
    counts from the next request on, as far as the fit has met the value or word.

    Items that nothing in the history is like are not returned; in `full` they are 0, and NaN without attributes.
    """

    by: list[str] = param(["*"], "item category or tags columns; * = all whose values repeat")
    text: list[str] = param(["*"], "item columns of text; * = all that are prose")
    grams: int = param(0, "length of character n-grams of the text; 0 = words", low=0, high=8)
    vector: str = param("", "an item column of vectors, looked at instead of attributes and text")
    combine: str = param("mean", "how the items of the history are put together", options=("mean", "max"))
    last: int = param(20, "newest distinct items of the history that are looked at; 0 = all that are kept", low=0)
    decay: float = param(0.9, "weight of each older item of the history against the one after it", low=0, high=1)
    event: tuple[str, ...] = param((), "event kinds looked at; the positive kinds when empty")
    kinds: Array = fitted("int8 codes of the event kinds")
    indptr: Array = fitted("(listed items + 1,) int64: where each item's terms begin")
    terms: Array = fitted("int32 terms of the items")
    values: Array = fitted("float32: unit rows")
    back_indptr: Array = fitted("(terms + 1,) int64: where each term's items begin")
    back_items: Array = fitted("int32 items of the terms")
    back_values: Array = fitted("float32: the same values by term")
    items: Array = fitted("(listed items, width) float32 unit vectors, where a vector column is looked at")
    idf: Array = fitted("(terms,) float64 inverse document frequencies")
    starts: Array = fitted("int64: where the terms of each column begin, those of the texts last")
    layout: Array = fitted("uint8: the columns and the words of the texts, as JSON")
    _rows: tuple[Array, ...] = hidden(
        ()
    )  # indptr, terms, values and the same by term as of now, where items came since the fit
    _live: Array | None = hidden(None)  # the same as of now, all items
    _raw: Array | None = hidden(None)  # the column that they are made of
    _as_of: tuple[int, int] = hidden((-1, -1))  # the table's version and length then

    def fit(self, log: Log, ctx: FitContext) -> None:
        """Nothing is learned from the log: the items' table is made into unit rows."""
        self.kinds = ctx.kinds(self.event)
        place = ctx.place or "content"
        if self.search != "exact" and (not self.vector or self.combine != "mean"):
            raise ConfigError(f"{place}.search: {self.search!r} needs a `vector` and combine = 'mean'; else: exact")
        if self.vector:
            self.items = content.unit_rows(content.given(ctx.catalogue.items, self.vector, f"{place}.vector"))
            self._live, self._raw, self._as_of = None, None, (-1, -1)
            self.indexed(self.items, log.of_kinds(self.kinds), self.kinds, self._profile, ctx.seed)
            return
        rows = content.matrix(ctx.catalogue.items, self.by, self.text, self.grams, place)
        columns = rows.tocsc()
        self.indptr, self.terms = rows.indptr.astype(np.int64), rows.indices.astype(np.int32)
        self.values = rows.data.astype(np.float32)
        self.back_indptr, self.back_items = columns.indptr.astype(np.int64), columns.indices.astype(np.int32)
        self.back_values = columns.data.astype(np.float32)
        found = content.layout(ctx.catalogue.items, self.by, self.text, self.grams, place)
        self.idf, self.starts, self._rows = found.idf, found.starts, ()
        told = json.dumps([found.names, found.written, list(found.words)], ensure_ascii=False)
        self.layout = np.frombuffer(told.encode(), dtype=np.uint8)

    def items_changed(self, codes: Array, catalogue: Catalogue) -> None:
        """Items that came or changed while serving get rows by the terms and weights of the fit: they are found from the next request on."""
        if self.vector or self.layout is None or not len(codes):
            return
        names, written, listed = json.loads(self.layout.tobytes())
        words = {word: place for place, word in enumerate(listed)}
        rows = (
            content.Terms(names, written, self.grams, self.starts, self.idf, words).rows(catalogue.items, codes).tocoo()
        )
        indptr, term, values = self._rows[:3] if self._rows else (self.indptr, self.terms, self.values)
        owner = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
        kept = ~np.isin(owner, codes)
        entries = np.concatenate([values[kept], rows.data.astype(np.float32)])
        places = np.concatenate([owner[kept], codes[rows.row]]), np.concatenate([term[kept], rows.col])
        size = max(len(indptr) - 1, int(codes.max()) + 1)
        made = sparse.csr_array((entries, places), shape=(size, len(self.idf)))
        made.sort_indices()
        back = made.tocsc()
        self._rows = (
            made.indptr.astype(np.int64), made.indices.astype(np.int32), made.data,
            back.indptr.astype(np.int64), back.indices.astype(np.int32), back.data,
        )  # fmt: skip

    def retrieve(self, batch: Batch, state: State, k: int, allowed: Mask | None) -> Hits:
        """See Source."""
        asked = evidence(batch, state, self.kinds, self.last, self.decay)
        size = len(state.catalogue.items)
        if not self.vector:
            full = self._by_terms(asked, size)
        elif self.combine == "mean":
            return self._by_vectors(asked, state.catalogue.items, k, allowed)
        else:
            vectors = self._now(state.catalogue.items)
            full = np.full((batch.n, size), np.nan, dtype=np.float32)
            _best_vectors(asked.offsets, asked.items, asked.weights, vectors, full, min(size, len(vectors)))
        return Hits(*top(full, k, allowed, floor=0.0), full)

    def _by_terms(self, asked: Evidence, size: int) -> Array:
        rows = self._rows or (
            self.indptr, self.terms, self.values, self.back_indptr, self.back_items, self.back_values,
        )  # fmt: skip
        listed = len(rows[0]) - 1
        full = np.zeros((len(asked.offsets) - 1, size), dtype=np.float32)
        full[:, listed:] = np.nan
        full[:, :listed][:, np.diff(rows[0])[:size] == 0] = np.nan
        run = _best_terms if self.combine == "max" else _sum_terms
        run(asked.offsets, asked.items, asked.weights, *rows, full)  # type: ignore[call-arg]
        return full

    def _by_vectors(self, asked: Evidence, table: Table, k: int, allowed: Mask | None) -> Hits:
        vectors = self._now(table)
        queries = svd.project(asked.offsets, asked.items, asked.weights, vectors)
        hits = self.best(queries, vectors, len(table), k, allowed)
        alike = hits.scores > 0  # NaN compares false
        scores = np.where(alike, hits.scores, np.float32(np.nan))
        return Hits(np.where(alike, hits.items, np.int32(-1)), scores, hits.rest)

    def _profile(self, offsets: Array, items: Array, weights: Array) -> Array:
        return svd.project(offsets, items, weights, self.items)

    def _now(self, table: Table) -> Array:
        """(items, width) unit vectors with those that items got since the fit; the index learns of them, too. Looking for them takes
        a pass over the column, and only after the table has changed."""
        as_of = (table.version, len(table))
        live = self.items if self._live is None else self._live
        if as_of == self._as_of or (self._live is None and as_of == (0, len(self.items))):
            return live
        given = table.column(self.vector).values[: len(table)]
        if self._raw is None:  # what the fit was given is not kept: compare what it made of it
            before, now = live, content.unit_rows(given)
        else:
            before, now = self._raw, given
        both = min(len(before), len(now))
        same = ((before[:both] == now[:both]) | (np.isnan(before[:both]) & np.isnan(now[:both]))).all(axis=1)
        changed = np.concatenate([np.flatnonzero(~same), np.arange(both, len(now))])
        rows = content.unit_rows(given[changed])
        grown = np.full((len(table), self.items.shape[1]), np.nan, dtype=np.float32)
        grown[: min(len(live), len(table))] = live[: len(table)]
        grown[changed] = rows
        if self._index is not None and len(changed):
            self._index.add(changed, rows)  # rows of NaN go out of it
        self._live, self._raw, self._as_of = grown, np.array(given), as_of
        return grown


@njit(cache=True, nogil=True)
def _sum_terms(
    offsets: Array, items: Array, weights: Array, indptr: Array, terms: Array, values: Array,
    back_indptr: Array, back_items: Array, back_values: Array, out: Array,
) -> None:  # fmt: skip
    """The profile is gathered term by term first, so that a term that all of the history shares is looked up once."""
    profile = np.zeros(len(back_indptr) - 1, dtype=np.float32)
    touched = np.empty(len(back_indptr) - 1, dtype=np.int32)
    for i in range(len(offsets) - 1):
        met = 0
        row = out[i]
        for j in range(offsets[i], offsets[i + 1]):
            if items[j] >= len(indptr) - 1:
                continue
            for e in range(indptr[items[j]], indptr[items[j] + 1]):
                if profile[terms[e]] == 0.0:
                    touched[met] = terms[e]
                    met += 1
                profile[terms[e]] += weights[j] * values[e]
        for c in range(met):
            weight = profile[touched[c]]
            profile[touched[c]] = np.float32(0.0)
            for e in range(back_indptr[touched[c]], back_indptr[touched[c] + 1]):
                if back_items[e] < len(row):
                    row[back_items[e]] += weight * back_values[e]


@njit(cache=True, nogil=True)
def _best_terms(
    offsets: Array, items: Array, weights: Array, indptr: Array, terms: Array, values: Array,
    back_indptr: Array, back_items: Array, back_values: Array, out: Array,
) -> None:  # fmt: skip
    one = np.zeros(out.shape[1], dtype=np.float32)
    touched = np.empty(out.shape[1], dtype=np.int32)
    for i in range(len(offsets) - 1):
        row = out[i]
        for j in range(offsets[i], offsets[i + 1]):
            if items[j] >= len(indptr) - 1:
                continue
            met = 0
            for e in range(indptr[items[j]], indptr[items[j] + 1]):
                weight = weights[j] * values[e]
                for b in range(back_indptr[terms[e]], back_indptr[terms[e] + 1]):
                    item = back_items[b]
                    if item < len(one):
                        if one[item] == 0.0:
                            touched[met] = item
                            met += 1
                        one[item] += weight * back_values[b]
            for c in range(met):
                row[touched[c]] = max(row[touched[c]], one[touched[c]])
                one[touched[c]] = np.float32(0.0)


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"}, error_model="numpy")
def _best_vectors(offsets: Array, items: Array, weights: Array, vectors: Array, out: Array, size: int) -> None:
    for i in range(len(offsets) - 1):
        for j in range(offsets[i], offsets[i + 1]):
            if items[j] >= len(vectors) or np.isnan(vectors[items[j], 0]):
                continue
            for item in range(size):
                if np.isnan(vectors[item, 0]):
                    continue
                total = np.float32(0.0)
                for c in range(vectors.shape[1]):
                    total += vectors[items[j], c] * vectors[item, c]
                total *= weights[j]
                if not out[i, item] >= total:
                    out[i, item] = total
