"""Attributes: what is known of the item, the user and the request themselves. Categories stay categories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numba import njit

from shortlist.core.batch import Array, Batch, Columns
from shortlist.core.component import hidden, param
from shortlist.core.contracts import Feature, FitContext, State
from shortlist.core.errors import ConfigError, choices
from shortlist.data.catalogue import NEVER, Catalogue, Table

READ = ("category", "number", "moment")  # kinds of columns that are one number


@dataclass
class Attributes(Feature):
    """Columns `item.<name>`, `user.<name>` and `context.<name>`: categories as int32 codes, numbers as float32; a moment (such as
    a publication date) becomes `item.<name>:age`, seconds from it to the request. Tags and vectors are left to other families.
    """

    item: list[str] = param(
        ["*"], "item columns; * = all that are useful: not those with a value of its own for most rows"
    )
    user: list[str] = param(["*"], "user columns; * = all that are useful")
    context: list[str] = param([], "request columns; only what the recipe's [data] context names is there")
    _blocks: dict[str, Block] = hidden({})
    # The values are those of the tables, whatever happens: requests of many moments may be asked at once.
    reads_state: ClassVar[bool] = False

    def folds(self, ctx: FitContext) -> tuple[()]:
        """Needs no aggregate. ConfigError for a column that is not there, or that says nothing in one number."""
        place = ctx.place or "attributes"
        for title, names, table in (("item", self.item, ctx.catalogue.items), ("user", self.user, ctx.catalogue.users)):
            fitting([name for name in names if "*" not in names], table, READ, f"{place}.{title}")
        return ()

    def compute(self, batch: Batch, state: State) -> Columns:
        """One column per attribute, length m."""
        columns = self._block("item", self.item, state.catalogue.items).read(batch, batch.item)
        columns |= self._block("user", self.user, state.catalogue.users).read(batch, batch.user)
        if self.context:
            empty = np.full(batch.n, -1, dtype=np.int32)
            columns |= spread({f"context.{name}": batch.req.get(name, empty) for name in self.context}, batch)
        return columns

    def _block(self, title: str, wanted: list[str], table: Table) -> Block:
        block = self._blocks.get(title)
        if block is None or block.table is not table or block.version != table.version:
            names = useful(table) if "*" in wanted else wanted
            block = self._blocks[title] = Block(title, names, table)
        return block


class Block:
    """Columns of a table laid out by type, so that many are read at once. A copy: made again when the table has changed."""

    def __init__(self, title: str, names: list[str], table: Table) -> None:
        self.table, self.version = table, table.version
        columns = {name: table.column(name, f"feature.attributes.{title}") for name in names}
        self.of_items = title == "item"
        self.labels = [f"{title}.{name}{':age' if column.kind == 'moment' else ''}" for name, column in columns.items()]
        self.parts: list[tuple[bool, list[str], Array]] = []  # moments?, labels, (rows, columns) values
        for kind in dict.fromkeys(column.kind for column in columns.values()):
            own = [label for label, column in zip(self.labels, columns.values(), strict=True) if column.kind == kind]
            # A row's values side by side: a candidate costs one cache line, not one for every column.
            values = np.stack([column.values for column in columns.values() if column.kind == kind], axis=1)
            self.parts.append((kind == "moment", own, values))
        made = [label for _, own, _ in self.parts for label in own]
        self.order = [made.index(label) for label in self.labels] if made != self.labels else []

    def read(self, batch: Batch, codes: Array) -> Columns:
        """The columns of a batch's candidates, whose codes these are, or those of its requests; moments as ages."""
        made: list[Array] = []
        for moments, labels, values in self.parts:
            rows = np.empty((len(labels), batch.m), dtype=np.float32 if moments else values.dtype)
            if moments:
                _ages(values, codes, batch.time, batch.offsets, self.of_items, rows)
            else:
                _taken(values, codes, batch.offsets, self.of_items, rows)
            made.extend(rows)
        return dict(zip(self.labels, [made[i] for i in self.order] if self.order else made, strict=True))


@njit(cache=True, nogil=True)
def _taken(values: Array, codes: Array, owners: Array, of_items: bool, out: Array) -> None:
    """Values (rows, columns) of codes, one per candidate or one per request, into `out` (columns, m)."""
    for i in range(len(owners) - 1):
        if of_items:
            for row in range(owners[i], owners[i + 1]):
                code = codes[row] if codes[row] < len(values) else -1  # the last row is the missing one
                for c in range(len(out)):
                    out[c, row] = values[code, c]
        else:
            code = codes[i] if codes[i] < len(values) else -1
            for c in range(len(out)):
                out[c, owners[i] : owners[i + 1]] = values[code, c]


@njit(cache=True, nogil=True)
def _ages(values: Array, codes: Array, times: Array, owners: Array, of_items: bool, out: Array) -> None:
    """The same of moments: seconds from them to the request."""
    for i in range(len(owners) - 1):
        for row in range(owners[i], owners[i + 1]):
            code = codes[row if of_items else i]
            for c in range(len(out)):
                moment = values[code if code < len(values) else -1, c]
                out[c, row] = np.nan if moment == NEVER else times[i] - moment


def spread(columns: Columns, batch: Batch) -> Columns:
    """Request columns repeated for every candidate: all of one type at once."""
    made: Columns = {}
    dtypes = {column.dtype for column in columns.values()}
    for dtype in dtypes:
        names = [name for name, column in columns.items() if column.dtype == dtype]
        block = np.concatenate([columns[name] for name in names]).reshape(len(names), batch.n)
        made.update(zip(names, block.repeat(batch.m, axis=1) if batch.n == 1 else block[:, batch.owner], strict=True))
    return made if len(dtypes) < 2 else {name: made[name] for name in columns}  # in the order given


def useful(table: Table) -> list[str]:
    """Columns that a ranker can learn from: numbers, moments, and categories whose values repeat."""
    names = {*table.of_kind("number", "moment"), *groups(table)}
    return [name for name in table.columns if name in names]


def fitting(names: list[str], table: Table, kinds: tuple[str, ...], place: str) -> None:
    """ConfigError for a column that is not there, or of another kind."""
    for name in names:
        kind = table.column(name, place).kind
        if kind not in kinds:
            fit = choices(table.of_kind(*kinds))
            raise ConfigError(f"{place}: {name!r} is a {kind} column; columns that may stand here: {fit}")


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
