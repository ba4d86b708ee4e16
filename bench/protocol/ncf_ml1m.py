"""Leave-one-out with 99 sampled negatives on MovieLens-1M (He et al., "Neural Collaborative Filtering", WWW 2017), every rating a positive.

Published: Ferrari Dacrema et al., "A Troubling Analysis of Reproducibility and Progress in Recommender Systems Research" (TOIS 2021), table 55,
hyperparameters of tables 58 and 59; iALS of Rendle et al. (RecSys 2022), table 5. The test item is ranked among itself and its 99 negatives;
156 of these are training items, and are not masked.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from bench.protocol.world import Fitted, Row, World, judged
from shortlist.retrieve.ease import Ease
from shortlist.retrieve.ials import Ials
from shortlist.retrieve.itemknn import Itemknn
from shortlist.retrieve.popular import Popular
from shortlist.retrieve.puresvd import Puresvd
from shortlist.retrieve.rp3beta import Rp3beta
from shortlist.retrieve.slim import Slim

USERS = 6040


def _figures(hitrate: float, ndcg: float) -> dict[str, float]:
    return {"hitrate@10": hitrate, "ndcg@10": ndcg}


# The elastic net of scikit-learn divides the squared error by 2 n: our penalties are n times its own.
ALPHA, L1_RATIO = 0.0788 * USERS, 1.19e-5
ROWS = [
    Row("popular", Popular(), _figures(0.4533, 0.2542), _figures(0.4538, 0.2545)),
    Row(
        "itemknn bm25",
        Itemknn(k=111, shrink=298, weighting="bm25", idf="plain", keep="candidate", cap=0),
        _figures(0.6694, 0.3979),
        _figures(0.6694, 0.3979),
    ),
    Row(
        "rp3beta",
        Rp3beta(alpha=1.0807, beta=0.7029, k=546, normalise=True, keep="both"),
        _figures(0.6758, 0.4011),
        _figures(0.6758, 0.4011),
    ),
    Row("ease", Ease(reg=1320), _figures(0.7192, 0.4494), _figures(0.7192, 0.4494)),
    Row("puresvd", Puresvd(d=52), _figures(0.6937, 0.4303), _figures(0.6962, 0.4310)),
    Row(
        "slim",
        Slim(l1=ALPHA * L1_RATIO, l2=ALPHA * (1 - L1_RATIO), k=544),
        _figures(0.7162, 0.4468),
        tolerance=0.005,
    ),
    Row(
        "ials log",
        Ials(d=46, epochs=10, weigh="count", alpha=50, eps=10, alpha0=1, reg=1e-5, nu=0),
        _figures(0.7109, 0.4382),
        tolerance=0.005,
        seeds=3,
    ),
    Row(
        "ials 64",
        Ials(d=64, epochs=12, alpha0=0.3, reg=0.007),
        reproduced=_figures(0.7228, 0.4442),
        tolerance=0.005,
        seeds=3,
    ),
    Row(
        "ials 192",
        Ials(d=192, epochs=12, alpha0=0.3, reg=0.007, block=0),
        _figures(0.73, 0.45),
        _figures(0.7308, 0.4531),
        tolerance=0.005,
    ),
]


class Protocol:
    """The split, read once."""

    def __init__(self, folder: Path, progress: Callable[..., Any], extra: Path) -> None:
        ratings = pl.read_parquet(folder / "ml-1m" / "interactions.parquet", columns=["user_id", "item_id"])
        given = folder / "anchors" / "ncf-ml1m"
        test = pl.read_parquet(given / "test.parquet").cast(pl.Int64).sort("user_id")
        negatives = pl.read_parquet(given / "negatives.parquet").cast(pl.Int64)
        ratings = ratings.cast(pl.Int64)
        events = ratings.join(test, on=["user_id", "item_id"], how="anti", maintain_order="left")
        self.world = World.of(events, ratings["item_id"].to_numpy(), progress)
        pairs = pl.concat([test, negatives]).sort("user_id", maintain_order=True)
        self.users = self.world.users(test["user_id"].to_numpy())
        self.targets = self.world.items(test["item_id"].to_numpy())
        self.candidates = self.world.items(pairs["item_id"].to_numpy())
        self.offsets = np.arange(len(test) + 1) * 100

    def lacks(self, row: Row) -> str:
        """Nothing."""
        return ""

    def measure(self, row: Row) -> dict[str, float]:
        """HR@10 and NDCG@10."""
        fitted = Fitted.of(row.part, self.world, seed=row.seed)
        found = fitted.best_of(self.users, self.offsets, self.candidates, 10)
        got = judged(found, np.arange(len(self.users)), self.targets, 10)
        return {f"{name}@10": got[name] for name in ("hitrate", "ndcg")}
