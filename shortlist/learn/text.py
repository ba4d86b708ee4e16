"""Text as numbers: TF-IDF over words or character n-grams (Salton & Buckley, 1988), and sentence embeddings from a model that
lies in a local folder. Nothing is ever downloaded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from scipy import sparse

from shortlist.core.batch import Array
from shortlist.core.errors import ConfigError
from shortlist.core.extras import need

_WORD = re.compile(r"\w+", re.UNICODE)


def tokens(text: str, grams: int = 0) -> list[str]:
    """Lower-case words; with grams > 0, every run of so many characters of every word between two spaces instead, which
    forgives spelling and inflexion: `(kite, 3)` -> ` ki`, `kit`, `ite`, `te `."""
    words = _WORD.findall(text.lower())
    if grams <= 0:
        return words
    found = []
    for word in words:
        padded = f" {word} "
        found += [padded[i : i + grams] for i in range(max(len(padded) - grams, 0) + 1)]
    return found


def counted(rows: Iterable[Sequence[str]]) -> sparse.csr_array:
    """(rows, terms) float64 counts; terms are numbered by first appearance."""
    terms: dict[str, int] = {}
    offsets, indices = [0], []
    for row in rows:
        indices += [terms.setdefault(term, len(terms)) for term in row]
        offsets.append(len(indices))
    matrix = sparse.csr_array(
        (np.ones(len(indices)), np.array(indices, dtype=np.int32), np.array(offsets, dtype=np.int32)),
        shape=(len(offsets) - 1, len(terms)),
    )
    matrix.sum_duplicates()
    return matrix


def tfidf(counts: sparse.csr_array) -> sparse.csr_array:
    """Unit rows of sqrt(count) * (1 + ln((1 + rows) / (1 + rows with the term))); a row without a term stays empty. Rows that are
    empty do not count as rows."""
    weighed = counts.copy()
    weighed.data = np.sqrt(counts.data) * idf(counts)[counts.indices]
    return unit(weighed)


def idf(counts: sparse.csr_array) -> Array:
    """(terms,) float64 1 + ln((1 + rows) / (1 + rows with the term)), empty rows aside."""
    filled = int((np.diff(counts.indptr) > 0).sum())
    spread = np.bincount(counts.indices, minlength=counts.shape[1])
    return np.asarray(1 + np.log((1 + filled) / (1 + spread)))


def unit(matrix: sparse.csr_array) -> sparse.csr_array:
    """The same rows, each of length 1 (or empty)."""
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    length = np.sqrt(np.bincount(rows, matrix.data**2, matrix.shape[0]))
    scaled = matrix.copy()
    scaled.data = matrix.data / np.maximum(length, 1e-30)[rows]
    return scaled


def embedded(texts: Sequence[str], model: str, place: str = "text") -> Array:
    """(texts, width) float32 sentence embeddings by the model in the folder `model`; NaN for an empty text.

    ConfigError where there is no such folder, MissingExtra where the package is not installed.
    """
    folder = Path(model).expanduser()
    if not folder.is_dir():
        raise ConfigError(
            f"{place}.model: no such folder: {model!r}; give the local folder of a sentence-embedding model"
        )
    package = need("sentence_transformers", "text", f"{place}: model = {model!r}")
    encoder = package.SentenceTransformer(str(folder), local_files_only=True)
    vectors = np.array(encoder.encode(list(texts), convert_to_numpy=True, show_progress_bar=False), dtype=np.float32)
    vectors[[not text.strip() for text in texts]] = np.nan
    return vectors
