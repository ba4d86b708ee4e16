"""A random 75% of every user's ratings of MovieLens-100K to learn from: the benchmark of the Recommenders library (Argyriou et al., WWW 2020).

Published: its table for SAR (Aggarwal 2016; similarity by Jaccard, affinity = rating * 0.5 ^ (age / 30 days)). Full ranking, what was
seen left out. Its MAP divides by all targets (`whole`), its NDCG cuts the ideal at min(k, targets). The draw goes by the lines of the original file
(`u.data`), which our copy has in another order: without that file it is another split, whose figures differ by more than the tolerance.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from bench.protocol.world import Fitted, Row, World, judged
from shortlist.retrieve.ease import Ease
from shortlist.retrieve.itemknn import Itemknn

ORIGINAL = "u.data"


def _figures(average: float, ndcg: float, precision: float, recall: float) -> dict[str, float]:
    return {"map@10": average, "ndcg@10": ndcg, "precision@10": precision, "recall@10": recall}


ROWS = [
    Row(
        "sar",
        Itemknn(k=10_000, shrink=0, weighting="jaccard", weigh="value", half_life="30d", cap=0),
        _figures(0.106959, 0.379533, 0.331071, 0.176837),
    ),
    Row("ease", Ease(reg=300), reproduced=_figures(0.1474, 0.4801, 0.4229, 0.2241)),
]


class Protocol:
    """The split, drawn once."""

    def __init__(self, folder: Path, progress: Callable[..., Any], extra: Path) -> None:
        ratings = pl.read_parquet(folder / "ml-100k" / "interactions.parquet").cast(pl.Int64)
        ratings = ratings.rename({"timestamp": "time", "rating": "value"})
        self.original = (extra / ORIGINAL).is_file()
        if self.original:
            lines = pl.read_csv(extra / ORIGINAL, separator="\t", has_header=False)
            lines = lines.select(pl.nth(0).alias("user_id"), pl.nth(1).alias("item_id"))
            ratings = lines.join(ratings, on=["user_id", "item_id"], maintain_order="left")
        ratings = ratings.with_columns(pl.Series("drawn", np.random.RandomState(42).rand(len(ratings))))
        place = pl.col("drawn").rank("ordinal").over("user_id")
        known = (place <= (pl.len().over("user_id") * 0.75).round()).alias("known")
        ratings = ratings.with_columns(known).sort("user_id", maintain_order=True)
        test = ratings.filter(~pl.col("known"))
        train = ratings.filter("known").drop("drawn", "known")
        self.world = World.of(train, ratings["item_id"].to_numpy(), progress)
        self.users = self.world.users(test["user_id"].unique(maintain_order=True).to_numpy())
        self.owner = test["user_id"].rle_id().to_numpy()
        self.targets = self.world.items(test["item_id"].to_numpy())

    def lacks(self, row: Row) -> str:
        """What a row needs and is not there."""
        return "" if self.original else ORIGINAL

    def measure(self, row: Row) -> dict[str, float]:
        """MAP, NDCG, precision and recall at 10."""
        found = Fitted.of(row.part, self.world).best(self.users, 10)
        got = judged(found, self.owner, self.targets, 10, whole=True)
        return {f"{name}@10": got[name] for name in ("map", "ndcg", "precision", "recall")}
