"""Conditional popularity: how popular the item is among people like this one, and by how much more than among everybody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from shortlist.core.batch import Array, Batch, Columns
from shortlist.core.component import hidden, param
from shortlist.core.contracts import Feature, FitContext, Fold, State
from shortlist.core.errors import ConfigError
from shortlist.feature.attributes import expanded
from shortlist.state.fold.decay import Decay
from shortlist.state.keys import columns_of


@dataclass
class Conditional(Feature):
    """For every segment S and half-life, with decayed counts c: `<event>/<what>|<S>/<half-life>` = (c(S, x) + prior * p(x)) / (c(S) +
    prior), the share of the segment's events that are the candidate's, where p(x) = c(x) / c() is its share of everybody's; and
    `<...>:lift`, that divided by p(x). A segment without events reads p(x) and a lift of 1.

    With S = last, the item that the user touched before, this is the live first-order Markov chain.
    """

    segment: list[str] = param(
        ["user.*"], "what people share: user.<attribute>, user.* (every category), a context column, last, hour ..."
    )
    what: str = param("item", "what is popular: item, or item.<attribute>")
    event: tuple[str, ...] = param((), "event kinds; the positive kinds when empty")
    half_life: list[str] = param(["1d"], "half-lives of the counts", duration=True)
    prior: float = param(20.0, "events of everybody's taste that every segment is given", low=1e-6)
    lift: bool = param(True, "also the ratio to everybody's share")
    keys: int = param(
        0, "pairs of a segment's value and a thing that are kept, the coldest go; 0 = as many as state.keys says", low=0
    )
    # Aggregates of both and of the segment, and the columns of shares and lifts.
    _made: list[tuple[str, str, list[str], list[str]]] = hidden([])
    _base: tuple[str, str] = hidden(("", ""))
    _pairs: list[tuple[str, ...]] = hidden([])

    def folds(self, ctx: FitContext) -> Sequence[Fold]:
        """Counts by segment and item, by segment, by item, and of everything."""
        events, lives = tuple(self.event) or ctx.positive, tuple(self.half_life)
        label = "+".join(self.event) or "positive"
        what = columns_of(self.what)
        if what[0].partition(".")[0] != "item":
            raise ConfigError(
                f"{ctx.place or 'conditional'}.what: {self.what!r} is not of the item; choices: item, item.<attribute>"
            )
        base = [Decay(what, events, lives), Decay((), events, lives)]
        self._base = (base[0].name, base[1].name)
        self._made, self._pairs = [], []
        folds: list[Fold] = [*base]
        for segment in expanded(self.segment, ctx.catalogue):
            own = columns_of(segment)
            both, alone = Decay((*own, *what), events, lives), Decay(own, events, lives)
            folds += [both, alone]
            self._pairs.append(both.by)
            names = [f"{label}/{self.what}|{segment}/{life}" for life in lives]
            self._made.append((both.name, alone.name, names, [f"{name}:lift" for name in names]))
        return folds

    def bounds(self) -> dict[tuple[str, ...], int]:
        """How many values of each key of both are to be kept."""
        return dict.fromkeys(self._pairs, self.keys) if self.keys else {}

    def compute(self, batch: Batch, state: State) -> Columns:
        """float32 columns of length m."""
        columns: Columns = {}
        item, everything = (state.values(name, batch) for name in self._base)
        for both, alone, names, lifts in self._made:
            made = np.empty((2 * len(names), batch.m), dtype=np.float32)
            share, lift = made[: len(names)], made[len(names) :]
            _shares(state.values(both, batch), state.values(alone, batch), item, everything, self.prior, share, lift)
            columns.update(zip([*names, *lifts], made, strict=True) if self.lift else zip(names, share, strict=True))
        return columns

    def origin(self, column: str) -> str:
        """The aggregate of the segment and the item, from which, with three others, a column is made."""
        return next(both for both, _, names, lifts in self._made if column in names or column in lifts)


@njit(cache=True, nogil=True, error_model="numpy")
def _shares(both: Array, alone: Array, item: Array, everything: Array, prior: float, share: Array, lift: Array) -> None:
    for j in range(item.shape[0]):
        for i in range(item.shape[1]):
            whole = item[j, i] / max(everything[j, i], np.float32(1e-9))
            share[j, i] = (both[j, i] + prior * whole) / (alone[j, i] + prior)
            lift[j, i] = share[j, i] / whole if whole > 0 else 1.0
