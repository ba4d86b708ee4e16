"""Small worlds to try parts in: the toy with one right answer per user, and a shop with everything in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from shortlist.core.batch import Array, Batch, Columns
from shortlist.core.contracts import FitContext, Fold
from shortlist.core.rng import rng
from shortlist.core.rows import offsets_of
from shortlist.data.catalogue import Catalogue
from shortlist.data.dataset import Dataset, encode
from shortlist.data.log import Log
from shortlist.data.synthetic import toy, withheld, world
from shortlist.state.state import State


@dataclass(frozen=True)
class Small:
    """A data set cut in two: what is known, and what happens after `ctx.now`."""

    catalogue: Catalogue
    log: Log  # before the cut-off
    later: Log
    ctx: FitContext

    def state(self, folds: Iterable[Fold] = ()) -> State:
        """The state as of the cut-off, with histories long enough to hold everything."""
        state = State(self.catalogue, folds, history=4096)
        if len(self.log):
            state.apply(self.log.columns)
        return state

    def requests(self, n: int = 12) -> Batch:
        """Requests at the cut-off: known users spread over the log, each twice with another place in between, and a user who
        is not known."""
        known = np.unique(self.log.user)
        users = known[np.linspace(0, len(known) - 1, n - 1).astype(np.int64)] if len(known) else np.zeros(0)
        users = np.append(users, -1).astype(np.int32)
        context = {
            name: np.arange(len(users), dtype=np.int32) % max(len(words), 1)
            for name, words in self.catalogue.context.items()
        }
        return Batch.of(users, np.array(self.ctx.now), **context)

    def candidates(self, n: int = 12, most: int = 20) -> Batch:
        """The same requests with up to `most` distinct items each, the last with none; with the columns of a merge."""
        requests = self.requests(n)
        draw = rng(0, "candidates")
        size = len(self.catalogue.items)
        counts = draw.integers(1, min(most, size) + 1, size=requests.n)
        counts[-1] = 0
        items = np.concatenate([draw.permutation(size)[:count] for count in counts]).astype(np.int32)
        place = np.concatenate([np.arange(1, count + 1) for count in counts]).astype(np.float32)
        place[draw.random(len(place)) < 0.3] = np.nan
        columns: Columns = {
            "item": items,
            "score_one": 1 / place,
            "rank_one": place,
            "best_rank": np.nan_to_num(place, nan=99.0),
        }
        return Batch(requests.req, offsets_of(counts), columns)


def cut(data: Dataset, position: int, positive: tuple[str, ...] = ("click",)) -> Small:
    """A data set cut at a position of its log."""
    now = int(data.log.time[position]) if position < len(data.log) else int(data.log.time[-1]) + 1
    position = data.log.position(now)
    context = FitContext(data.catalogue, positive, now=now)
    return Small(data.catalogue, data.log.before(now), data.log.slice(position, len(data.log)), context)


def shop() -> Small:
    """A shop with impressions, clicks and purchases, attributes of every kind and context, cut at four fifths."""
    data = encode(world(seed=1, users=80, items=60, days=10, sessions=4.0).tables)
    return cut(data, len(data.log) * 4 // 5)


def two_tastes() -> Small:
    """All of the toy: two tastes, two item groups, the diagonal withheld."""
    data = encode(toy())
    return cut(data, len(data.log))


def answers(small: Small) -> Array:
    """(users,) the item code withheld from every user of the toy."""
    names = small.catalogue.users.ids.series().to_list()
    return small.catalogue.items.ids.codes([withheld(name) for name in names])


def alone(small: Small, log: Log, now: int) -> Small:
    """The same catalogue with another log before another cut-off."""
    context = FitContext(small.catalogue, small.ctx.positive, now=now, seed=small.ctx.seed)
    return Small(small.catalogue, log, small.later, context)
