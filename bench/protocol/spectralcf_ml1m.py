"""The split of SpectralCF on MovieLens-1M (Zheng et al., RecSys 2018): full ranking, what was seen left out.

Published: Ferrari Dacrema et al. (TOIS 2021), table 32, hyperparameters of tables 42 and 43. Their recall divides by the targets, their MAP by
min(20, targets), as ours do. The authors' test items are far less popular than their training items: the split is no random one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from bench.protocol.world import Fitted, Row, World, judged
from shortlist.retrieve.ease import Ease
from shortlist.retrieve.itemknn import Itemknn
from shortlist.retrieve.popular import Popular
from shortlist.retrieve.puresvd import Puresvd
from shortlist.retrieve.rp3beta import Rp3beta


def _figures(recall: float, average: float) -> dict[str, float]:
    return {"recall@20": recall, "map@20": average}


ROWS = [
    Row("popular", Popular(), _figures(0.0382, 0.0065)),
    Row("ease", Ease(reg=292), _figures(0.0956, 0.0212)),
    Row("puresvd", Puresvd(d=15), _figures(0.0828, 0.0172)),
    Row(
        "itemknn tfidf",
        Itemknn(k=615, shrink=0, weighting="tfidf", idf="plain", keep="candidate", cap=0),
        _figures(0.0676, 0.0143),
    ),
    Row("p3alpha", Rp3beta(alpha=1.0075, beta=0.0, k=332, normalise=True, keep="both"), _figures(0.1218, 0.0256)),
    Row("rp3beta", Rp3beta(alpha=0.7551, beta=0.5412, k=537, keep="both"), _figures(0.0916, 0.0192)),
]


class Protocol:
    """The split, read once."""

    def __init__(self, folder: Path, progress: Callable[..., Any], extra: Path) -> None:
        given = folder / "anchors" / "spectralcf-ml1m"
        train, test = (pl.read_parquet(given / f"{name}.parquet").cast(pl.Int64) for name in ("train", "test"))
        test = test.sort("user_id", maintain_order=True)
        self.world = World.of(train, pl.concat([train, test])["item_id"].to_numpy(), progress)
        users = test["user_id"].unique(maintain_order=True)
        self.users = self.world.users(users.to_numpy())
        self.owner = test["user_id"].rle_id().to_numpy()
        self.targets = self.world.items(test["item_id"].to_numpy())

    def lacks(self, row: Row) -> str:
        """Nothing."""
        return ""

    def measure(self, row: Row) -> dict[str, float]:
        """Recall and MAP at 20."""
        found = Fitted.of(row.part, self.world).best(self.users, 20)
        got = judged(found, self.owner, self.targets, 20)
        return {f"{name}@20": got[name] for name in ("recall", "map")}
