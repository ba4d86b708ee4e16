"""What the protocols share: tables in, a source fitted and asked for many users, lists out. Nothing here recommends or measures:
sources and metrics do."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from shortlist.core.batch import Array, Batch
from shortlist.core.contracts import FitContext, Mask, Pairs, silent
from shortlist.core.rows import offsets_of
from shortlist.data.dataset import Dataset, encode
from shortlist.data.schema import Tables
from shortlist.index.top import top_ragged
from shortlist.metric.ranking import ranking
from shortlist.state.state import State

KIND, LATER = "interaction", "later"  # events to learn from; those of new users, which are in the state only
CELLS = 40_000_000  # scores that are held at once: users at a time x items


def data_folder() -> Path:
    """Where the public sets lie."""
    return Path(os.environ.get("SHORTLIST_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))


@dataclass(frozen=True)
class Row:
    """One line of an anchor table. published: what its authors print, by metric; reproduced: what others measured of the same model
    with their own code. tolerance: how far from the nearer of the two we may be, in any metric."""

    name: str
    part: Any  # a source, not fitted
    published: dict[str, float] = field(default_factory=dict)
    reproduced: dict[str, float] = field(default_factory=dict)
    tolerance: float = 0.001
    note: str = ""
    seeds: int = (
        1  # fits whose figures are averaged: a model that begins with random numbers gives others for every seed
    )
    seed: int = 0
    choices: dict[str, tuple[float, ...]] = field(
        default_factory=dict
    )  # options of the part that the validation items decide


@dataclass(frozen=True)
class World:
    """Events to learn from, and the state after them."""

    data: Dataset
    ctx: FitContext
    progress: Callable[..., Iterable[Any]] = silent

    @classmethod
    def of(
        cls, events: pl.DataFrame, items: pl.DataFrame | Array | None = None, progress: Callable[..., Any] = silent
    ) -> World:
        """events: user_id, item_id, and where they matter time and value. items: a table, or ids: who may be recommended besides; their
        order is the order of ties."""
        if "time" not in events.columns:
            events = events.with_columns(pl.lit(0).alias("time"))
        table = (
            items if isinstance(items, pl.DataFrame) or items is None else pl.DataFrame({"item_id": np.unique(items)})
        )
        data = encode(Tables(events, table, name="anchor", default_kind=KIND))
        data.catalogue.kinds.add(LATER)
        now = int(data.log.time[-1]) + 1
        return cls(data, FitContext(data.catalogue, (KIND, LATER), now=now, progress=progress), progress)

    def users(self, ids: Array) -> Array:
        """Codes of users, -1 for those without an event."""
        return self.data.catalogue.users.ids.codes(pl.Series(ids))

    def items(self, ids: Array) -> Array:
        """Codes of items."""
        return self.data.catalogue.items.ids.codes(pl.Series(ids))

    @property
    def known(self) -> Array:
        """(items,) bool: has an event."""
        return np.bincount(self.data.log.item, minlength=len(self.data.catalogue.items)) > 0


@dataclass(frozen=True)
class Fitted:
    """A source fitted on a world, and a state that may know other people's events as well."""

    world: World
    part: Any
    state: State

    @classmethod
    def of(cls, part: Any, world: World, told: pl.DataFrame | None = None, seed: int = 0) -> Fitted:
        """told: events that come after the fit, of users who were not there."""
        folds = part.folds(world.ctx) if hasattr(part, "folds") else ()
        part.fit(world.data.log, replace(world.ctx, seed=seed))
        state = State(world.data.catalogue, folds, history=1 << 16)
        state.apply(world.data.log.columns)
        fitted = cls(world, part, state)
        if told is not None:
            fitted._tell(told)
        return fitted

    def users(self, ids: Array) -> Array:
        """Codes of users, those who came after the fit too."""
        return self.world.users(ids)

    def _tell(self, events: pl.DataFrame) -> None:
        catalogue = self.world.data.catalogue
        for user in events["user_id"].unique(maintain_order=True).to_list():
            catalogue.users.add(user)
        count = len(events)
        values = events["value"].cast(pl.Float32).to_numpy() if "value" in events.columns else np.full(count, np.nan)
        times = events["time"].to_numpy() if "time" in events.columns else np.full(count, self.world.ctx.now - 1)
        self.state.apply(
            {
                "user": self.world.users(events["user_id"].to_numpy()),
                "item": self.world.items(events["item_id"].to_numpy()),
                "time": times.astype(np.int64),
                "kind": np.full(count, catalogue.kinds.code(LATER), dtype=np.int8),
                "value": values.astype(np.float32),
            }
        )

    def _pieces(self, users: Array) -> Iterable[Array]:
        step = max(CELLS // len(self.world.data.catalogue.items), 1)
        pieces = [np.arange(start, min(start + step, len(users))) for start in range(0, len(users), step)]
        return self.world.progress(pieces, "lists", len(pieces))

    def best(self, users: Array, k: int, shared: Array | None = None) -> Array:
        """(n, k) item codes of the whole catalogue (or where `shared` is true), what a user has met left out; -1 where there are fewer."""
        found = []
        for rows in self._pieces(users):
            met = self.state.history(users[rows])
            batch = Batch.of(users[rows], np.array(self.world.ctx.now))
            found.append(self.part.retrieve(batch, self.state, k, Mask(shared, met.offsets, met.items)).items)
        return np.concatenate(found)

    def best_of(self, users: Array, offsets: Array, items: Array, k: int, mask: bool = False) -> tuple[Array, Array]:
        """(offsets, items) of the k best of each user's own candidates `items[offsets[i]:offsets[i + 1]]`, best first, ties by code. mask:
        leave out what the user has met."""
        lists = []
        for rows in self._pieces(users):
            batch = Batch.of(users[rows], np.array(self.world.ctx.now))
            rest = self.part.retrieve(batch, self.state, 1, None).rest
            start, stop = offsets[rows[0]], offsets[rows[-1] + 1]
            inside = offsets[rows[0] : rows[-1] + 2] - start
            owner, own = np.repeat(np.arange(len(rows)), np.diff(inside)), items[start:stop]
            # One row of scores for everybody, or scores by the pair.
            scores = rest.of(owner, own) if isinstance(rest, Pairs) else rest[0 if len(rest) == 1 else owner, own]
            met = self.state.history(users[rows])
            bans = Mask(None, met.offsets, met.items) if mask else None
            size = len(self.world.data.catalogue.items)
            lists.append(top_ragged(inside, own, np.asarray(scores, dtype=np.float32), k, size, bans)[0])
        return ragged(np.concatenate(lists))


def ragged(table: Array) -> tuple[Array, Array]:
    """A padded table as offsets and entries."""
    return offsets_of((table >= 0).sum(axis=1)), table[table >= 0]


def judged(
    found: Array | tuple[Array, Array], users: Array, items: Array, k: int, whole: bool = False
) -> dict[str, float]:
    """Mean metrics at k. found: lists of users 0 .. n - 1; users, items: their targets, users ascending. whole: of MAP, see there."""
    offsets, shown = found if isinstance(found, tuple) else ragged(found)
    targets = offsets_of(np.bincount(users, minlength=len(offsets) - 1))
    return {
        name: float(values.mean()) for name, values in ranking(offsets, shown, targets, items, k, whole=whole).items()
    }
