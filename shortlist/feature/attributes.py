"""Attributes: what is known of the item, the user and the request themselves. Categories stay categories."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shortlist.core.batch import Batch, Columns
from shortlist.core.component import hidden, param
from shortlist.core.contracts import Feature, State
from shortlist.data.catalogue import NEVER, Catalogue, Table


@dataclass
class Attributes(Feature):
    """Columns `item.<name>`, `user.<name>` and `context.<name>`: categories as int32 codes, numbers as float32; a moment (such as
    a publication date) becomes `item.<name>:age`, seconds from it to the request. Tags and vectors are left to other families.
    """

    item: list[str] = param(
        ["*"], "item columns; * = all that are useful: not those with a value of its own for most rows"
    )
    user: list[str] = param(["*"], "user columns; * = all that are useful")
    _known: list[tuple[str, str, str]] = hidden([])
    context: list[str] = param([], "request columns; only what the recipe's [data] context names is there")

    def compute(self, batch: Batch, state: State) -> Columns:
        """One column per attribute, length m."""
        items, users = state.catalogue.items, state.catalogue.users
        if not self._known:
            self._known = [*self._named("item", self.item, items), *self._named("user", self.user, users)]
        columns: Columns = {}
        same: Columns = {}  # the same for all candidates of a request
        for title, label, name in self._known:
            table, codes = (items, batch.item) if title == "item" else (users, batch.user)
            column = table.columns[name]
            values = column.values[codes]
            if column.kind == "moment":
                time = batch.spread(batch.time) if title == "item" else batch.time
                values = np.where(values == NEVER, np.nan, time - values).astype(np.float32)
            (columns if title == "item" else same)[label] = values
        for name in self.context:
            empty = np.full(batch.n, -1, dtype=np.int32)
            same[f"context.{name}"] = batch.req.get(name, empty)
        return columns | spread(same, batch)

    def _named(self, title: str, wanted: list[str], table: Table) -> list[tuple[str, str, str]]:
        """Title, column of the frame, column of the table: of all that is wanted."""
        made = []
        for name in useful(table) if "*" in wanted else wanted:
            age = ":age" if table.column(name, f"feature.attributes.{title}").kind == "moment" else ""
            made.append((title, f"{title}.{name}{age}", name))
        return made


def spread(columns: Columns, batch: Batch) -> Columns:
    """Request columns repeated for every candidate: all of one type at once."""
    made: Columns = {}
    for dtype in {column.dtype for column in columns.values()}:
        names = [name for name, column in columns.items() if column.dtype == dtype]
        block = np.stack([columns[name] for name in names])
        made.update(zip(names, block.repeat(batch.m, axis=1) if batch.n == 1 else block[:, batch.owner], strict=True))
    return {name: made[name] for name in columns}  # in the order given


def useful(table: Table) -> list[str]:
    """Columns that a ranker can learn from: numbers, moments, and categories whose values repeat."""
    names = {*table.of_kind("number", "moment"), *groups(table)}
    return [name for name in table.columns if name in names]


def groups(table: Table, *kinds: str) -> list[str]:
    """Category columns (or those of other kinds) with more than one value, which several rows share."""
    names = []
    for name in table.of_kind(*(kinds or ("category",))):
        vocabulary = table.columns[name].vocabulary
        if vocabulary is not None and 1 < len(vocabulary) <= max(2, table.listed // 2):
            names.append(name)
    return names


def expanded(keys: list[str], catalogue: Catalogue) -> list[str]:
    """Keys with `item.*` and `user.*` written out: one key for every category column with shared values."""
    made = []
    for key in keys:
        title = next((title for title in ("item", "user") if f"{title}.*" in key), "")
        table = catalogue.items if title == "item" else catalogue.users
        made += [key.replace(f"{title}.*", f"{title}.{name}") for name in groups(table)] if title else [key]
    return made
