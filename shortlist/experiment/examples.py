"""A few users with their history and what they are recommended, by readable names: the first check of any recommender."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from shortlist.core.batch import Array
from shortlist.data.catalogue import Table
from shortlist.experiment.fit import Fitted

USERS = 4
PAST = 8
MOST = 10


def examples(answers: pl.DataFrame, fitted: Fitted) -> list[dict[str, Any]]:
    """The first users with a history and a full answer, in the order of the answers."""
    catalogue = fitted.data.catalogue
    made: list[dict[str, Any]] = []
    for name in answers["user_id"].unique(maintain_order=True).head(200).to_list():
        user = catalogue.users.ids.code(name)
        past = fitted.state.history(np.array([user], dtype=np.int32), PAST)
        if len(past.items) < 3:
            continue
        own = answers.filter(pl.col("user_id") == name)
        given = "label" in own.columns
        if given:  # impressions, each perhaps a request of its own: those of all, the best first
            own = own.sort("score", descending=True, maintain_order=True).head(MOST)
        items = catalogue.items.ids.codes(own["item_id"])
        shown = [
            {"item": str(item), "title": title, "source": source, "score": round(float(score), 4)}
            for item, title, source, score in zip(
                own["item_id"], titles(catalogue.items, items), own["source"], own["score"], strict=True
            )
        ]
        if given:
            shown = [{**entry, "hit": hit} for entry, hit in zip(shown, (own["label"] > 0).to_list(), strict=True)]
        made.append({"user": str(name), "history": titles(catalogue.items, past.items[::-1]), "recommended": shown})
        if len(made) == USERS:
            break
    return made


def titles(items: Table, codes: Array) -> list[str]:
    """A readable name of each item: its title-like attribute, else its id."""
    ids = [str(name) for name in items.ids.names(codes)]
    for name, column in items.columns.items():
        plain = name.lower()
        if (
            column.kind == "category"
            and column.vocabulary is not None
            and (plain in ("title", "name", "description") or plain.endswith("name"))
        ):
            texts = column.vocabulary.names(column.values[codes]).to_list()
            return [str(text) if text else own for text, own in zip(texts, ids, strict=True)]
    return ids
