"""Leave-one-out with 100 sampled negatives on CiteULike-a, the split of Collaborative Memory Networks (Ebesu et al., SIGIR 2018).

Published: Ferrari Dacrema et al. (TOIS 2021), table 4, hyperparameters of tables 10 and 11. The test item is ranked among itself and its
negatives; those of the user's training items are masked.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from bench.protocol.world import Fitted, Row, World, judged
from shortlist.core.rows import offsets_of
from shortlist.retrieve.ease import Ease
from shortlist.retrieve.ials import Ials
from shortlist.retrieve.itemknn import Itemknn
from shortlist.retrieve.puresvd import Puresvd
from shortlist.retrieve.rp3beta import Rp3beta


def _figures(hitrate: float, ndcg: float) -> dict[str, float]:
    return {"hitrate@10": hitrate, "ndcg@10": ndcg}


ROWS = [
    Row(
        "itemknn tfidf",
        Itemknn(k=594, shrink=999, weighting="tfidf", idf="plain", keep="candidate", cap=0),
        _figures(0.8925, 0.7267),
        _figures(0.8923, 0.7267),
    ),
    Row("rp3beta", Rp3beta(alpha=0.7110, beta=0.2297, k=764, normalise=True, keep="both"), _figures(0.9002, 0.7447)),
    Row("puresvd", Puresvd(d=320), _figures(0.7954, 0.6254), _figures(0.7995, 0.6242)),
    Row(
        "ials linear",
        Ials(d=115, epochs=60, alpha0=1, alpha=15.4014, reg=1e-5, nu=0),
        _figures(0.9006, 0.7313),
        tolerance=0.005,
    ),
    Row(
        "ease",
        Ease(reg=523, max_items=20_000, memory_mb=6000),
        _figures(0.8806, 0.7197),
        _figures(0.8806, 0.7197),
    ),
]


class Protocol:
    """The split, read once."""

    def __init__(self, folder: Path, progress: Callable[..., Any], extra: Path) -> None:
        given = folder / "anchors" / "citeulike-a"
        train, test = (pl.read_parquet(given / f"{name}.parquet").cast(pl.Int64) for name in ("train", "test"))
        test = test.sort("user_id", maintain_order=True)
        self.world = World.of(train, test["item_id"].to_numpy(), progress)
        positives = test.filter(pl.col("label") == 1)
        self.users = self.world.users(positives["user_id"].to_numpy())
        self.targets = self.world.items(positives["item_id"].to_numpy())
        self.candidates = self.world.items(test["item_id"].to_numpy())
        self.offsets = offsets_of(test.group_by("user_id", maintain_order=True).len()["len"].to_numpy())

    def lacks(self, row: Row) -> str:
        """Nothing."""
        return ""

    def measure(self, row: Row) -> dict[str, float]:
        """HR@10 and NDCG@10."""
        fitted = Fitted.of(row.part, self.world)
        found = fitted.best_of(self.users, self.offsets, self.candidates, 10, mask=True)
        got = judged(found, np.arange(len(self.users)), self.targets, 10)
        return {f"{name}@10": got[name] for name in ("hitrate", "ndcg")}
