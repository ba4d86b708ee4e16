"""Five folds of the users of MovieLens-1M with random held-out items, as the Polara framework draws them, and the two tables made so.

HybridSVD (Frolov & Oseledets, RecSys 2019): ratings of 4 and 5 are positives, films without attributes are left out; one random positive of
every user of a fold is held out, the rest stays in training. Published: the means over folds in the authors' repository.

CoFFee (Frolov & Oseledets, RecSys 2016), the example of the framework: all ratings with their values; the users of a fold are new, ten
random ratings of each are held out. nDCG and nDCL as in `metric.graded`, 0 for a user who has nothing to gain (lose).
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from bench.protocol.world import KIND, Fitted, Row, World, judged, ragged
from shortlist.core.batch import Array
from shortlist.core.rows import offsets_of
from shortlist.metric.graded import graded
from shortlist.retrieve.ease import Ease
from shortlist.retrieve.hybridsvd import Hybridsvd
from shortlist.retrieve.popular import Popular
from shortlist.retrieve.puresvd import Puresvd
from shortlist.retrieve.tensor import Tensor

FOLDS = 5
BARE = (
    669,
    811,
    1181,
    1205,
    1294,
    1494,
    2645,
    3366,
    3416,
    3532,
    3935,
)  # films without attributes in the authors' table
ATTRIBUTES = "meta_info_ml1m.csv"  # that table: a file of their repository


def _positives(hitrate: float, mrr: float) -> dict[str, float]:
    return {"hitrate@10": hitrate, "mrr@10": mrr}


def _graded(ndcg: float, ndcl: float) -> dict[str, float]:
    return {"ndcg@10": ndcg, "ndcl@10": ndcl}


_HYBRID: dict[str, Any] = {"likeness": "common", "rank": 4000, "by": ["cast", "director", "writer", "genres"]}
HYBRID = [
    Row("popular", Popular(), _positives(0.0918, 0.0342)),
    Row("puresvd", Puresvd(d=30), _positives(0.2200, 0.0933)),
    Row("puresvd scaled", Puresvd(d=75, scale=0.4), _positives(0.2401, 0.1045)),
    Row("hybridsvd", Hybridsvd(d=50, weight=0.9, **_HYBRID), _positives(0.2295, 0.0979), note=ATTRIBUTES),
    Row(
        "hybridsvd scaled",
        Hybridsvd(d=100, scale=0.4, weight=0.7, **_HYBRID),
        _positives(0.2432, 0.1050),
        note=ATTRIBUTES,
    ),
    # Measured over other draws than the authors', as a range: .241 to .250, .106 to .108.
    Row("ease", Ease(reg=500), reproduced=_positives(0.2455, 0.1070), tolerance=0.005, seeds=3),
]
COFFEE = [
    Row("popular", Popular(event=(KIND,)), _graded(0.0914, 0.0649)),
    Row("puresvd", Puresvd(d=10, weigh="value"), _graded(0.1975, 0.1012)),
    Row(
        "coffee",
        Tensor(mode="value", d_user=13, d=10, d_mode=2, good=4.0, epochs=25),
        _graded(0.1799, 0.0741),
        tolerance=0.005,
    ),
]


def folds(users: Array, seed: int, size: int, twice: bool) -> Iterator[tuple[Array, Array]]:
    """(rows, held) of every fold: rows (events,) bool of its users, and `size` random events of each of these, users ascending; a user who
    has no more keeps none. users: (events,) int, ascending.

    Users are cut into runs of equal size by id; every fold's draws begin anew. twice: the first user is drawn for once more beforehand,
    which is what the pandas of that time did when a function was applied to the groups of a table.
    """
    _, number = np.unique(users, return_inverse=True)
    count = number[-1] + 1
    for fold in range(FOLDS):
        rows = (number >= round(fold * count / FOLDS)) & (number < round((fold + 1) * count / FOLDS))
        draw = np.random.RandomState(seed)
        starts = np.searchsorted(number, np.unique(number[rows]))
        stops = np.searchsorted(number, np.unique(number[rows]), side="right")
        held = []
        for start, stop in zip(starts[:1] if twice else [], stops[:1], strict=False):
            draw.choice(stop - start, size, replace=False)
        for start, stop in zip(starts, stops, strict=True):
            own = np.arange(start, stop)
            held.append(own[draw.choice(len(own), size, replace=False)] if len(own) > size else own)
        yield rows, np.concatenate(held)


def _ratings(folder: Path) -> pl.DataFrame:
    ratings = pl.read_parquet(folder / "ml-1m" / "interactions.parquet", columns=["user_id", "item_id", "rating"])
    return ratings.cast(pl.Int64).rename({"rating": "value"})


def attributes(folder: Path, extra: Path) -> pl.DataFrame | None:
    """The authors' attributes of films, when the file is there."""
    path = extra / ATTRIBUTES
    if not path.is_file():
        return None
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    columns = {name: [row[name].split(",") if row[name] else [] for row in rows] for name in _HYBRID["by"]}
    return pl.DataFrame({"item_id": [int(row["movieid"]) for row in rows], **columns})


class Hybrid:
    """Positives, one of each user of a fold held out."""

    def __init__(self, folder: Path, progress: Callable[..., Any], extra: Path) -> None:
        ratings = _ratings(folder).filter((pl.col("value") >= 4) & ~pl.col("item_id").is_in(BARE)).drop("value")
        self.ratings, self.progress = ratings, progress
        about = attributes(folder, extra)
        self.items: Any = np.unique(ratings["item_id"].to_numpy())
        if about is not None:
            self.items = about.filter(pl.col("item_id").is_in(self.items)).sort("item_id")

    def lacks(self, row: Row) -> str:
        """What a row needs and is not there."""
        return row.note if row.note and not isinstance(self.items, pl.DataFrame) else ""

    def measure(self, row: Row) -> dict[str, float]:
        """HR@10 and MRR@10, means over folds: on the authors' draws where there is a figure of theirs, else on those of the row's seed."""
        table: list[dict[str, float]] = []
        draws = 42 if row.published else row.seed
        splits = list(folds(self.ratings["user_id"].to_numpy(), draws, 1, twice=bool(row.published)))
        for _, held in self.progress(splits, "folds", FOLDS):
            keep = np.ones(len(self.ratings), dtype=bool)
            keep[held] = False
            world = World.of(self.ratings.filter(keep), self.items, self.progress)
            users = world.users(self.ratings["user_id"].to_numpy()[held])
            targets = world.items(self.ratings["item_id"].to_numpy()[held])
            asked = (users >= 0) & world.known[targets]  # what nobody has left cannot be asked for
            found = Fitted.of(row.part, world).best(users[asked], 10, world.known)
            table.append(judged(found, np.arange(len(found)), targets[asked], 10))
        return {f"{name}@10": float(np.mean([line[name] for line in table])) for name in ("hitrate", "mrr")}


class Coffee:
    """Ratings; the users of a fold are new, ten ratings of each held out."""

    def __init__(self, folder: Path, progress: Callable[..., Any], extra: Path) -> None:
        self.ratings, self.progress = _ratings(folder), progress

    def lacks(self, row: Row) -> str:
        """Nothing."""
        return ""

    def measure(self, row: Row) -> dict[str, float]:
        """nDCG@10 and nDCL@10, means over folds."""
        table: list[dict[str, float]] = []
        ids, items = self.ratings["user_id"].to_numpy(), self.ratings["item_id"].to_numpy()
        values = self.ratings["value"].to_numpy()
        splits = list(folds(ids, 0, 10, twice=False))
        for rows, held in self.progress(splits, "folds", FOLDS):
            world = World.of(self.ratings.filter(~rows), items, self.progress)
            history = rows.copy()
            history[held] = False
            codes = world.items(items)
            history &= world.known[codes]
            # A user of whom a held-out item is not in training is left out whole.
            whole = np.bincount(ids[held], ~world.known[codes[held]]) == 0
            held = held[whole[ids[held]]]
            users = np.unique(ids[held])
            told = self.ratings.filter(history).filter(pl.col("user_id").is_in(users))
            fitted = Fitted.of(row.part, world, told=told)
            found = fitted.best(fitted.users(users), 10, world.known)
            offsets, shown = ragged(found)
            targets = offsets_of(np.full(len(users), 10))
            got = graded(offsets, shown, targets, codes[held], values[held], 10, good=4.0)
            table.append({name: float(np.nan_to_num(each).mean()) for name, each in got.items()})
        return {f"{name}@10": float(np.mean([line[name] for line in table])) for name in ("ndcg", "ndcl")}
