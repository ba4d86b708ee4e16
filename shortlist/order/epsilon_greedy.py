"""Epsilon-greedy: now and then a place goes to a row drawn at random, so that the log can teach what the ranker does not know.

Source: Sutton & Barto, Reinforcement Learning: An Introduction (2nd edition, 2018), section 2.2, place after place."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from shortlist.core.batch import Array, Batch
from shortlist.core.component import param
from shortlist.core.contracts import Rule, State


@dataclass
class EpsilonGreedy(Rule):
    """Fills the first `places` places from the top: with probability `epsilon` by a row drawn evenly among those of the first `depth` that
    are not placed yet, else by the best of them. The other rows follow as they were.

    The propensity of a placed row is its probability at its place, given what stands above it: with r rows left,
    epsilon / r, and 1 - epsilon more for the best of them. The product over a list is the probability of the list.
    """

    epsilon: float = param(0.1, "share of the places that are drawn at random", low=0.0, high=1.0)
    places: int = param(10, "places that may be drawn; at least as many as are shown, or only the first of them", low=1)
    depth: int = param(0, "rows from the top that may be drawn; 0 = all", low=0)

    def rows(self, batch: Batch, state: State, rng: Callable[[int], np.random.Generator]) -> Array:
        """(m,) int64 row indices, grouped by request."""
        return self.drawn(batch, state, rng)[0]

    def drawn(self, batch: Batch, state: State, rng: Callable[[int], np.random.Generator]) -> tuple[Array, Array]:
        """(m,) int64 row indices, grouped by request, and (m,) float64 propensities of the rows at these places."""
        rows = np.arange(batch.m, dtype=np.int64)
        propensity = np.ones(batch.m)
        for i in range(batch.n):
            start, stop = int(batch.offsets[i]), int(batch.offsets[i + 1])
            left = list(range(start, min(stop, start + self.depth) if self.depth else stop))
            behind = rows[start + len(left) : stop].tolist()
            placed = min(self.places, len(left))
            if not placed:
                continue
            chance, which = rng(i).random((2, self.places))[:, :placed]
            for place in range(placed):
                count = len(left)
                spot = int(which[place] * count) if chance[place] < self.epsilon else 0
                rows[start + place] = left.pop(spot)
                propensity[start + place] = self.epsilon / count + (1 - self.epsilon) * (spot == 0)
            rows[start + placed : stop] = left + behind
        return rows, propensity
