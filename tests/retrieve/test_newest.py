"""Newest: against ages worked out from the tables and the plain list of events."""

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from shortlist.core.batch import Batch
from shortlist.core.errors import ConfigError
from shortlist.data.dataset import encode
from shortlist.data.schema import Tables
from shortlist.retrieve.newest import Newest
from shortlist.testing.suite import told
from shortlist.testing.toy import Small, cut
from tests.retrieve import slow

HOUR = 3600
DATES = {"a": 10, "b": 40, "c": None, "d": None, "e": 90}  # hours; f and g are in no table
TAGS = {"a": ["x"], "b": ["y"], "c": ["x", "y"], "d": [], "e": ["x"]}
EVENTS = [
    ("u", "c", 20),
    ("v", "f", 30),
    ("v", "c", 35),
    ("w", "b", 45),
    ("v", "g", 25),
    ("w", "d", 50),
]  # g comes late


def world() -> Small:
    events = pl.DataFrame(EVENTS, schema=["user_id", "item_id", "time"], orient="row")
    events = events.with_columns(pl.col("time") * HOUR, event=pl.lit("click"))
    items = pl.DataFrame(
        {
            "item_id": list(DATES),
            "available_from": [None if hour is None else hour * HOUR for hour in DATES.values()],
            "kind": [tags[0] if tags else None for tags in TAGS.values()],
            "tags": list(TAGS.values()),
        }
    )
    data = encode(Tables(events, items, name="newest"))
    return cut(data, len(data.log))


def found(part: Any, hour: int, users: list[str]) -> list[list[tuple[str, float]]]:
    small = world()
    state = slow.ready(part, small)
    names = small.catalogue.items.ids.series().to_list()
    batch = Batch.of(small.catalogue.users.ids.codes(users), np.array(hour * HOUR))
    hits = part.retrieve(batch, state, 10, None)
    slow.full_rows(part, state, batch)
    return [
        [(names[item], float(score)) for item, score in zip(*row, strict=True) if item >= 0]
        for row in zip(hits.items, hits.scores, strict=True)
    ]


def test_dates_and_first_events() -> None:
    """Dated items by their date, the others by their first event; e is not there yet at 60, nor is it unknown at 100."""
    at_60 = [("d", -10), ("b", -20), ("f", -30), ("g", -35), ("c", -40), ("a", -50)]
    assert found(Newest(), 60, ["u", "nobody"]) == [at_60, at_60]
    assert found(Newest(), 100, ["u"])[0][0] == ("e", -10)


def test_only_so_old() -> None:
    assert [name for name, _ in found(Newest(within="30h"), 60, ["u"])[0]] == ["d", "b", "f"]


def test_within_what_is_liked() -> None:
    """u likes what c is: x and y by its tags, x by its first. w's d has none, its b has y; v's f and g are in no table, its c has x."""
    tags = found(Newest(by="tags"), 100, ["u", "w", "v", "nobody"])
    assert [[name for name, _ in row] for row in tags] == [
        ["e", "b", "c", "a"], ["b", "c"], ["e", "b", "c", "a"], ["e", "d", "b", "f", "g", "c", "a"],
    ]  # fmt: skip
    kinds = found(Newest(by="kind", last=1), 100, ["u", "w"])
    assert [[name for name, _ in row] for row in kinds] == [["e", "c", "a"], ["e", "d", "b", "f", "g", "c", "a"]]


def test_a_new_item_is_found_at_once() -> None:
    small, part = world(), Newest()
    state = slow.ready(part, small)
    code = small.catalogue.items.add("new")
    batch = Batch.of(np.array([0]), np.array(60 * HOUR))
    assert code not in part.retrieve(batch, state, 20, None).items
    event = {name: column[:1].copy() for name, column in small.log.columns.items()}
    state.apply({**event, "item": np.array([code], np.int32), "time": np.array([60 * HOUR])})
    assert part.retrieve(batch, state, 20, None).items[0, 0] == code
    assert part.retrieve(batch, state, 20, None).scores[0, 0] == 0


def test_in_the_shop() -> None:
    """A column of dates for listed items, and every request at its own moment."""
    part = Newest(by="category", last=3)
    state = slow.ready(part)
    small = slow.small()
    asked = small.requests(20)
    batch = Batch({**asked.req, "time": asked.time + HOUR * np.arange(asked.n)}, asked.offsets, asked.cand)
    items = small.catalogue.items
    since = items.column("available_from").values
    full = slow.full_rows(part, state, batch)
    for i, user in enumerate(batch.user.tolist()):
        liked = {int(items.values("category", np.array([item]))[0]) for item in slow.recent(user, 3)} - {-1}
        for item in range(len(items)):
            age = int(batch.time[i]) - int(since[item])
            there = age >= 0 and (not liked or int(items.values("category", np.array([item]))[0]) in liked)
            np.testing.assert_allclose(full[i, item], -age / HOUR if there else np.nan, rtol=1e-6)
    assert 0 < np.isfinite(full).mean() < 1


def test_columns_are_checked() -> None:
    ctx = world().ctx
    with pytest.raises(
        ConfigError, match=r"newest.by: item column 'available_from' is a moment column; .*: kind, tags"
    ):
        told(Newest(by="available_from"), ctx)
    with pytest.raises(ConfigError, match=r"recipe: source\[1\].by: unknown column 'colour'"):
        told(Newest(by="colour"), replace(ctx, place="recipe: source[1]"))
