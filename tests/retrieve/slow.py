"""What the tests of sources share: a small shop, its events as plain lists, and full rows of scores."""

import functools
from typing import Any

import numpy as np

from shortlist.core.batch import Array, Batch
from shortlist.state.state import State
from shortlist.testing.suite import told
from shortlist.testing.toy import Small, shop

Event = tuple[int, int, int]  # user, item, time


@functools.cache
def small() -> Small:
    """The shop of the conformance suite."""
    return shop()


def ready(part: Any, world: Small | None = None) -> State:
    """Fit a part and give the state that it reads."""
    world = world or small()
    folds = told(part, world.ctx)
    part.fit(world.log, world.ctx)
    return world.state(folds)


def events(kind: str = "click", world: Small | None = None) -> list[Event]:
    """Events of one kind, in log order."""
    world = world or small()
    rows = world.log.kind == world.catalogue.kinds.code(kind)
    columns = (world.log.user[rows].tolist(), world.log.item[rows].tolist(), world.log.time[rows].tolist())
    return list(zip(*columns, strict=True))


def recent(user: int, last: int = 0, kind: str = "click") -> list[int]:
    """A user's distinct items, newest first."""
    items = [item for who, item, _ in reversed(events(kind)) if who == user]
    distinct = list(dict.fromkeys(items))
    return distinct[:last] if last else distinct


def clicked() -> Array:
    """(users, items) 1 where the user clicked the item."""
    world = small()
    matrix = np.zeros((len(world.catalogue.users), len(world.catalogue.items)))
    for user, item, _ in events():
        matrix[user, item] = 1.0
    return matrix


def best(scores: Array, k: int, floor: float = -np.inf) -> list[int]:
    """The k best items of a row, ties by code."""
    good = [item for item in range(len(scores)) if np.isfinite(scores[item]) and scores[item] > floor]
    return sorted(good, key=lambda item: (-scores[item], item))[:k]


def full_rows(part: Any, state: State, batch: Batch) -> Array:
    """(n, items) scores of everything, checked against the answer's own scores."""
    hits = part.retrieve(batch, state, 10, None)
    full: Array = np.broadcast_to(hits.full, (batch.n, hits.full.shape[1]))
    for i in range(batch.n):
        found = hits.items[i][hits.items[i] >= 0]
        np.testing.assert_array_equal(full[i][found], hits.scores[i, : len(found)])
    return full
