"""What is known of the items themselves, as a sparse matrix of unit rows: categories, tags and the words of texts. Only listed
items have attributes; all of them are there before their first event, so nothing here depends on the log."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

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


def prose(table: Table, columns: Sequence[str], place: str = "") -> list[str]:
    """(listed,) the text of every listed item: its columns, one after another; "" where all are missing."""
    joined = [""] * table.listed
    for name in columns:
        column = table.column(name, place)
        if column.kind == "tags":
            words = [""] * table.listed
            offsets, codes = table.tags(name, np.arange(table.listed))
            named = np.array(["", *_names(column.vocabulary)], dtype=object)[codes + 1]
            words = [" ".join(named[a:b]) for a, b in itertools.pairwise(offsets)]
        elif column.kind == "category":
            words = np.array(["", *_names(column.vocabulary)], dtype=object)[column.values[: table.listed] + 1].tolist()
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
    names = shared(table) if "*" in columns else list(columns)
    written = texts(table) if "*" in prose_columns else list(prose_columns)
    blocks = [_block(table, name, place) for name in names]
    if written:
        blocks.append(text.counted(text.tokens(each, grams) for each in prose(table, written, place)))
    return [block for block in blocks if block.shape[1]]


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
