"""Boost: somebody's wishes as data: these items up or down by so many places, from then until then."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from shortlist.core.batch import Array, Batch
from shortlist.core.component import param
from shortlist.core.contracts import FitContext, Rule, State
from shortlist.core.errors import ConfigError, choices
from shortlist.core.rows import run_place
from shortlist.core.units import moment

KEYS = ("places", "items", "by", "value", "since", "until")
KINDS = ("category", "tags")


@dataclass
class Boost(Rule):
    """Moves rows up (or down) by `places` of every wish that holds for them, past exactly so many rows if those stay; a
    large number pins to the top (or the end). Rows with equal claims keep their order.

    A wish is a table: `places`, then either `items` (a list of ids) or `by` (an item category or tags column) and `value`,
    and optionally `since` and `until` (dates, UTC: since <= request time < until). An id or value that the catalogue does
    not know yet moves nothing.
    """

    wishes: list[dict[str, Any]] = param([], "tables of places, items | by and value, since, until")

    def __post_init__(self) -> None:
        # TOML has dates of its own; the bundle's JSON does not.
        self.wishes = [
            {key: value.isoformat() if hasattr(value, "isoformat") else value for key, value in wish.items()}
            for wish in self.wishes
        ]

    def fit(self, log: Any, ctx: FitContext) -> None:
        """Check the wishes; nothing is learned."""
        for i, wish in enumerate(self.wishes):
            _check(wish, ctx.catalogue, f"{ctx.place or 'boost'}: wishes[{i}]")

    def rows(self, batch: Batch, state: State, rng: Callable[[int], np.random.Generator]) -> Array:
        """(m,) int64 row indices, grouped by request."""
        lift = np.zeros(batch.m, dtype=np.int64)
        for i, wish in enumerate(self.wishes):
            _check(wish, state.catalogue, f"boost: wishes[{i}]")
            active = np.ones(batch.n, dtype=bool)
            if "since" in wish:
                active &= batch.time >= moment(wish["since"])
            if "until" in wish:
                active &= batch.time < moment(wish["until"])
            if active.any():
                lift += wish["places"] * (batch.spread(active) & _meant(wish, batch.item, state.catalogue.items))
        # Twice the place, so that a lifted row goes before the one at whose place it arrives, and a lowered one behind it.
        place = 2 * (run_place(batch.offsets) - lift) - np.sign(lift)
        rows: Array = np.lexsort((place, batch.owner))
        return rows


def _meant(wish: dict[str, Any], item: Array, items: Any) -> Array:
    """(m,) bool: rows whose item the wish is about."""
    if "items" in wish:
        codes = items.ids.codes(wish["items"])
        listed: Array = np.isin(item, codes[codes >= 0])
        return listed
    code = items.column(wish["by"]).vocabulary.code(wish["value"])
    offsets, entries = items.tags(wish["by"], item)
    meant = np.zeros(len(item), dtype=bool)
    meant[np.repeat(np.arange(len(item)), np.diff(offsets))[entries == code]] = True
    return meant


def _check(wish: dict[str, Any], catalogue: Any, place: str) -> None:
    unknown = [key for key in wish if key not in KEYS]
    if unknown:
        raise ConfigError(f"{place}: unknown option {unknown[0]!r}; options: {choices(KEYS)}")
    if not isinstance(wish.get("places"), int) or isinstance(wish["places"], bool):
        raise ConfigError(f"{place}.places: expected int, got {wish.get('places')!r}")
    if ("items" in wish) == ("by" in wish) or ("by" in wish) != ("value" in wish):
        raise ConfigError(f"{place}: say what is meant: either 'items', or 'by' and 'value'")
    if "items" in wish and not isinstance(wish["items"], list):
        raise ConfigError(f"{place}.items: expected a list of ids, got {wish['items']!r}")
    if "by" in wish:
        items = catalogue.items
        kind = items.column(wish["by"], place).kind
        if kind not in KINDS:
            raise ConfigError(
                f"{place}: item column {wish['by']!r} is a {kind} column; category and tags columns: "
                f"{choices(items.of_kind(*KINDS))}"
            )
    for key in ("since", "until"):
        if key in wish:
            try:
                moment(wish[key])
            except ConfigError as error:
                raise ConfigError(f"{place}.{key}: {error}") from None
