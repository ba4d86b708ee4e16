"""What parts need of a state: the aggregates that they read, and how many values of a key they want kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from shortlist.core.contracts import FitContext, Fold
from shortlist.state.form import Form


def aggregates(parts: Iterable[tuple[str, Any]], ctx: FitContext) -> list[Fold]:
    """The aggregates that parts, each with its place, read: equal ones once. ConfigError, with the place of the part, for a key or an event kind
    that the data do not have."""
    needed: dict[str, Fold] = {}
    for place, part in parts:
        if hasattr(part, "folds"):
            for fold in part.folds(replace(ctx, place=place)):
                # Here, because the state does not know whose aggregate it is, and would name that.
                ctx.catalogue.kind_codes(fold.kinds, place)
                Form(fold.by, ctx.catalogue, place)
                needed.setdefault(fold.name, fold)
    return list(needed.values())


def bounds(parts: Iterable[tuple[str, Any]]) -> dict[tuple[str, ...], int]:
    """How many values of a key of several columns the parts want kept, where they say so; once `aggregates` has been asked. The most,
    where several do."""
    most: dict[tuple[str, ...], int] = {}
    for _, part in parts:
        for by, count in part.bounds().items() if hasattr(part, "bounds") else ():
            most[by] = max(most.get(by, 0), count)
    return most
