"""Families whose columns are readings of aggregates: which aggregate gives which columns is said once, when the folds are named."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from shortlist.core.batch import Batch, Columns
from shortlist.core.component import hidden
from shortlist.core.contracts import Feature, Fold, State


@dataclass
class Aggregates(Feature):
    """Columns that are readings, as they are. A family's `folds` calls `keeping` with what it wants."""

    _made: list[tuple[str, list[str]]] = hidden(
        []
    )  # an aggregate, and a column for each of its readings; "" = left out

    def keeping(self, made: Iterable[tuple[Fold, list[str]]]) -> list[Fold]:
        """Remember which columns an aggregate's readings become. Returns the folds."""
        listed = list(made)
        self._made = [(fold.name, names) for fold, names in listed]
        return [fold for fold, _ in listed]

    def compute(self, batch: Batch, state: State) -> Columns:
        """float32 columns of length m."""
        columns: Columns = {}
        for aggregate, names in self._made:
            columns.update(zip(names, state.values(aggregate, batch), strict=True))
        columns.pop("", None)
        return columns

    def origin(self, column: str) -> str:
        """The aggregate that a column is read from; "" for one that a family adds from elsewhere."""
        return next((aggregate for aggregate, names in self._made if column in names), "")
