"""Plackett-Luce: a list drawn by a softmax of the scores, place after place without putting back.

Sources: Plackett, The analysis of permutations (Applied Statistics 1975); drawn at once by the Gumbel trick: Yellott, The relationship between
Luce's choice axiom, Thurstone's theory of comparative judgment, and the double exponential distribution (J. Math. Psychology 1977)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from shortlist.core.batch import Array, Batch
from shortlist.core.component import param
from shortlist.core.contracts import Rule, State
from shortlist.core.errors import ConfigError, choices
from shortlist.core.rows import sink

SCORE = "score"  # the final score, which the pipeline sets before the rules


@dataclass
class PlackettLuce(Rule):
    """Draws the order of the first `depth` rows: each place goes to one of the rows left with a probability in proportion to
    exp(score / temperature). The other rows follow as they were. Temperature 0 sorts; scores may be of any sign, and only their
    differences count. Rows whose score is not finite come behind, in their order.

    The propensity of a row is its probability at its place, given what stands above it; the product over a list, or over its first
    places, is the probability of that list.
    """

    temperature: float = param(0.1, "0 = the order of the scores; large = even chances", low=0.0)
    depth: int = param(50, "rows from the top that are drawn; 0 = all", low=0)

    def rows(self, batch: Batch, state: State, rng: Callable[[int], np.random.Generator]) -> Array:
        """(m,) int64 row indices, grouped by request."""
        return self.drawn(batch, state, rng)[0]

    def drawn(self, batch: Batch, state: State, rng: Callable[[int], np.random.Generator]) -> tuple[Array, Array]:
        """(m,) int64 row indices, grouped by request, and (m,) float64 propensities of the rows at these places. ConfigError when the batch
        has no final score."""
        if SCORE not in batch.cand:
            raise ConfigError(f"plackett_luce: the candidates have no column {SCORE!r}; columns: {choices(batch.cand)}")
        rows = np.arange(batch.m, dtype=np.int64)
        propensity = np.ones(batch.m)
        if self.temperature == 0.0:
            return rows, propensity
        scores = sink(batch.cand[SCORE].astype(np.float64))
        for i in range(batch.n):
            start, stop = int(batch.offsets[i]), int(batch.offsets[i + 1])
            if self.depth:
                stop = min(stop, start + self.depth)
            own = scores[start:stop]
            best = own.max(initial=-np.inf)
            if best == -np.inf:
                continue
            # Log weights, the largest 0. A tiny temperature makes some of them -inf: no chance before the others are placed.
            with np.errstate(over="ignore"):
                logs = (own - best) / self.temperature
            order = np.argsort(-(logs + rng(i).gumbel(size=len(logs))), kind="stable")
            rows[start:stop] = start + order
            propensity[start:stop] = _conditional(logs[order])
        return rows, propensity


def _conditional(logs: Array) -> Array:
    """(r,) the weight of each row as a share of its own and all that follow, from log weights; 1 where nothing has weight."""
    left = np.logaddexp.accumulate(logs[::-1])[::-1]
    weighty = left > -np.inf
    out = np.ones(len(logs))
    out[weighty] = np.exp(logs[weighty] - left[weighty])
    return out
