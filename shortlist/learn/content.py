"""What is known of the items themselves, as a sparse matrix of unit rows: categories, tags and the words of texts. Only listed
items have attributes; all of them are there before their first event, so nothing here depends on the log."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy import sparse

from shortlist.core.batch import Array
from shortlist.core.errors import ConfigError, choices
from shortlist.data.catalogue import Table
from shortlist.learn import svd, text


def shared(table: Table) -> list[str]:
    """Category and tags columns with more than one value, each of them on two rows or more on average."""
    names = []
    for name in table.of_kind("category", "tags"):
        column = table.columns[name]
        size, entries = len(column.vocabulary or ()), table.listed if column.codes is None else len(column.codes)
        if 1 < size <= max(2, entries // 2):
            names.append(name)
    return names


def texts(table: Table) -> list[str]:
    """Category columns that are prose: text of which most rows have their own, of several words more often than not."""
    names = []
    for name in table.of_kind("category"):
        vocabulary = table.columns[name].vocabulary
        if vocabulary is None or not vocabulary.is_text or 2 * len(vocabulary) <= table.listed:
            continue
        many = vocabulary.series().str.contains(r"\w\s+\w").mean()
        if isinstance(many, float) and many > 0.5:
            names.append(name)
    return names


def prose(table: Table, columns: Sequence[str], place: str = "", rows: Array | None = None) -> list[str]:
    """(listed,) the text of every listed item, or of these rows: its columns, one after another; "" where all are missing."""
    rows = np.arange(table.listed) if rows is None else rows
    joined = [""] * len(rows)
    for name in columns:
        column = table.column(name, place)
        if column.kind == "tags":
            words = [""] * len(rows)
            offsets, codes = table.tags(name, rows)
            named = np.array(["", *_names(column.vocabulary)], dtype=object)[codes + 1]
            words = [" ".join(named[a:b]) for a, b in itertools.pairwise(offsets)]
        elif column.kind == "category":
            words = np.array(["", *_names(column.vocabulary)], dtype=object)[column.values[rows] + 1].tolist()
        else:
            raise ConfigError(f"{place}: {name!r} is a {column.kind} column; text must be a category or tags column")
        joined = [f"{left} {right}".strip() for left, right in zip(joined, words, strict=True)]
    return joined


def matrix(
    table: Table, columns: Sequence[str], prose_columns: Sequence[str] = (), grams: int = 0, place: str = ""
) -> sparse.csr_array:
    """(listed items, terms) float64 unit rows: every category or tags column is a TF-IDF block of unit rows, the texts together
    are another, and blocks weigh alike. A row is empty where nothing is known. `*` in columns: all that are shared; in
    prose_columns: all that are prose."""
    blocks = [text.tfidf(block) for block in _blocks(table, columns, prose_columns, grams, place)]
    if not blocks:
        return sparse.csr_array((table.listed, 0), dtype=np.float64)
    return text.unit(sparse.hstack(blocks, format="csr"))


def terms(
    table: Table, columns: Sequence[str], prose_columns: Sequence[str] = (), grams: int = 0, place: str = ""
) -> sparse.csr_array:
    """(listed items, terms) float64: 1 where an item has the category, tag or word. The same term of two columns is two."""
    blocks = _blocks(table, columns, prose_columns, grams, place)
    if not blocks:
        return sparse.csr_array((table.listed, 0), dtype=np.float64)
    whole = sparse.csr_array(sparse.hstack(blocks, format="csr"), dtype=np.float64)
    whole.data[:] = 1.0
    return whole


def _blocks(
    table: Table, columns: Sequence[str], prose_columns: Sequence[str], grams: int, place: str
) -> list[sparse.csr_array]:
    """(listed, values) counts of every column, then of the words of all texts; those without a value left out."""
    names, written = _chosen(table, columns, prose_columns)
    blocks = [_block(table, name, place) for name in names]
    if written:
        blocks.append(text.counted(text.tokens(each, grams) for each in prose(table, written, place)))
    return [block for block in blocks if block.shape[1]]


def _chosen(table: Table, columns: Sequence[str], prose_columns: Sequence[str]) -> tuple[list[str], list[str]]:
    """The category and tags columns, and those of text, with every `*` written out."""
    names = shared(table) if "*" in columns else list(columns)
    return names, texts(table) if "*" in prose_columns else list(prose_columns)


@dataclass
class Terms:
    """What the columns of `matrix` are, so that items which come later get rows in it, weighed as the others. names: category and tags
    columns, a block each; written: columns of text, the last block; starts: (blocks + 1,) where blocks begin; idf: (terms,); words: the
    place of each word in its block. A value or word that the fit has not met has no term."""

    names: list[str]
    written: list[str]
    grams: int
    starts: Array
    idf: Array
    words: dict[str, int]

    def rows(self, table: Table, codes: Array) -> sparse.csr_array:
        """(codes, terms) float64 unit rows of these items."""
        indices: list[int] = []
        values: list[float] = []
        offsets = [0]
        texts = prose(table, self.written, rows=codes) if self.written else [""] * len(codes)
        for code, told in zip(codes.tolist(), texts, strict=True):
            parts = [table.tags(name, np.array([code], dtype=np.int32))[1].tolist() for name in self.names]
            if self.written:
                parts.append([self.words[word] for word in text.tokens(told, self.grams) if word in self.words])
            row: dict[int, float] = {}
            for block, found in enumerate(parts):
                start, width = int(self.starts[block]), int(self.starts[block + 1] - self.starts[block])
                counts = Counter(term for term in found if term < width)
                own = {
                    start + term: count**0.5 * float(self.idf[start + term]) for term, count in sorted(counts.items())
                }
                length = sum(value * value for value in own.values()) ** 0.5
                row |= {term: value / length for term, value in own.items()}
            length = sum(value * value for value in row.values()) ** 0.5
            indices += row
            values += [value / length for value in row.values()]
            offsets.append(len(indices))
        return sparse.csr_array((values, indices, offsets), shape=(len(codes), len(self.idf)), dtype=np.float64)


def layout(
    table: Table, columns: Sequence[str], prose_columns: Sequence[str] = (), grams: int = 0, place: str = ""
) -> Terms:
    """The terms of `matrix` with the same arguments."""
    names, written = _chosen(table, columns, prose_columns)
    blocks = [_block(table, name, place) for name in names]
    words: dict[str, int] = {}
    if written:
        tokens = [text.tokens(each, grams) for each in prose(table, written, place)]
        for word in itertools.chain.from_iterable(tokens):
            words.setdefault(word, len(words))
        blocks.append(text.counted(tokens))
    starts = np.cumsum([0, *(block.shape[1] for block in blocks)]).astype(np.int64)
    idf = np.concatenate([np.zeros(0), *(text.idf(block) for block in blocks if block.shape[1])])
    return Terms(names, written, grams, starts, idf, words)


def _block(table: Table, name: str, place: str) -> sparse.csr_array:
    column = table.column(name, place)
    if column.kind not in ("category", "tags"):
        raise ConfigError(
            f"{place}: {name!r} is a {column.kind} column; choices: {choices(table.of_kind('category', 'tags'))}"
        )
    offsets, codes = table.tags(name, np.arange(table.listed))
    made = sparse.csr_array(
        (np.ones(len(codes)), codes.astype(np.int32), offsets.astype(np.int32)),
        shape=(table.listed, len(column.vocabulary or ())),
    )
    made.sum_duplicates()
    return made


def dense(rows: sparse.csr_array, d: int) -> Array:
    """(rows, d) float32: sparse rows on their d strongest directions (latent semantic analysis, Deerwester et al. 1990); NaN for
    an empty row. Narrower where the rank is less than d."""
    directions, _ = svd.truncated(rows, d)
    filled = np.flatnonzero(np.diff(rows.indptr) > 0)
    return svd.spread(np.asarray(rows @ directions)[filled], filled, rows.shape[0])


def given(table: Table, name: str, place: str = "") -> Array:
    """(listed, width) float32 vectors of a vector column; NaN where missing."""
    column = table.column(name, place)
    if column.kind != "vector":
        raise ConfigError(f"{place}: {name!r} is a {column.kind} column; choices: {choices(table.of_kind('vector'))}")
    return np.array(column.values[: table.listed], dtype=np.float32)


def unit_rows(vectors: Array) -> Array:
    """(rows, d) float32 rows of length 1; NaN for a row with a NaN, or of length 0."""
    wide = vectors.astype(np.float64)
    length = np.sqrt((wide**2).sum(axis=1))
    length[~(length > 0)] = np.nan
    return np.asarray(wide / length[:, None], dtype=np.float32)


def _names(vocabulary: object) -> list[str]:
    series = getattr(vocabulary, "series", lambda: pl.Series([], dtype=pl.String))()
    return [str(name) for name in series.to_list()]
