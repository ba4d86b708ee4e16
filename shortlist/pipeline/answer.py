"""Answers as a table, for files and reports: the edge where columns become a dataframe."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from shortlist.core import rows
from shortlist.core.batch import Batch
from shortlist.data.vocabulary import Vocabulary


def table(answer: Batch, users: pl.Series, items: Vocabulary, sources: Sequence[str]) -> pl.DataFrame:
    """One row per item shown: user_id, item_id, rank (1 = best), score, source: the names of the sources that found it, joined
    by |. users: (n,) outside ids of the requests."""
    return pl.DataFrame(
        {
            "user_id": users.gather(answer.owner.astype(np.uint32)),
            "item_id": items.names(answer.item),
            "rank": (rows.run_place(answer.offsets) + 1).astype(np.int32),
            "score": answer.cand["score"].astype(np.float32),
            "source": pl.Series(found_by(answer, sources), dtype=pl.String),
        }
    )


def found_by(answer: Batch, sources: Sequence[str]) -> list[str]:
    """(m,) names of the sources that returned each row. Few combinations occur: each is written out once."""
    bits = np.zeros(answer.m, dtype=np.int64)
    for s, name in enumerate(sources):
        bits |= np.isfinite(answer.cand[f"rank_{name}"]).astype(np.int64) << s
    rows = bits.tolist()
    texts = {bit: "|".join(name for s, name in enumerate(sources) if bit >> s & 1) for bit in set(rows)}
    return [texts[bit] for bit in rows]
