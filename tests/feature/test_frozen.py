"""Frozen: what its families say as of the fit, whatever happens after it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shortlist.core.batch import Columns
from shortlist.core.component import build, config, load, save
from shortlist.core.contracts import FitContext
from shortlist.core.errors import ConfigError
from shortlist.data.dataset import encode
from shortlist.data.log import Log
from shortlist.feature.auto import Auto
from shortlist.feature.frozen import Frozen
from shortlist.state.state import State
from tests.feature.test_auto import chosen, tables
from tests.feature.test_auto import context as context_of
from tests.state.toys import toy_batch, toy_catalogue, toy_events

FAMILIES: list[dict[str, Any]] = [
    {"type": "rate", "event": ["click"], "over": ["view"], "by": ["user", "user x item.tags"], "half_life": ["1h"]},
    {"type": "recency", "by": ["user", "item"], "first": True},
    {"type": "pair", "name": "met", "last": 10},
    {"type": "session", "gap": "2h"},
]
PARTS = [{key: value for key, value in family.items() if key != "name"} for family in FAMILIES]


def context(catalogue: Any) -> FitContext:
    return FitContext(catalogue, ("click", "buy"), now=60_000, place="feature.frozen", impression="view")


def fitted(size: int = 1500, catalogue: Any = None) -> tuple[Frozen, Columns]:
    part, log = Frozen(FAMILIES), toy_events(3000)
    ctx = context(catalogue or toy_catalogue())
    assert part.folds(ctx) == ()
    part.fit(Log({name: column[:size] for name, column in log.items()}), ctx)
    return part, log


def by_hand(log: Columns, size: int, batch: Any) -> Columns:
    """The families one by one, on a state that has folded in the first events."""
    ctx = context(toy_catalogue())
    columns: Columns = {}
    for family in PARTS:
        part = build("feature", family)
        state = State(ctx.catalogue, part.folds(ctx), history=128, history_events=("click", "buy"))
        state.apply({name: column[:size] for name, column in log.items()})
        columns |= {f"{name}:frozen": column for name, column in part.compute(batch, state).items()}
    return columns


def same(got: Columns, expected: Columns) -> None:
    assert list(got) == list(expected)
    for name, column in expected.items():
        np.testing.assert_array_equal(got[name], column, err_msg=name)


def test_it_says_what_its_families_said_at_the_fit() -> None:
    part, log = fitted()
    batch = toy_batch([9, 0, 4, 11], time=[99_000, 99_500, 100_000, 200_000])
    live = State(toy_catalogue(), [])
    expected = by_hand(log, 1500, batch)
    same(part.compute(batch, live), expected)
    live.apply(log)  # nobody tells it
    same(part.compute(batch, live), expected)
    later = by_hand(log, 2500, batch)
    assert any(not np.array_equal(later[name], expected[name], equal_nan=True) for name in expected)
    part.fit(Log({name: column[:2500] for name, column in log.items()}), context(toy_catalogue()))
    same(part.compute(batch, live), later)


def test_it_comes_back_as_it_was(tmp_path: Path) -> None:
    part, log = fitted()
    batch = toy_batch([6, 7])
    save(part, tmp_path)
    again = build("feature", config(part))
    again.folds(context(toy_catalogue()))
    load(again, tmp_path)
    same(again.compute(batch, State(toy_catalogue(), [])), by_hand(log, 1500, batch))


def test_whom_the_live_state_forgets_it_forgets() -> None:
    catalogue = toy_catalogue()
    part, _ = fitted(catalogue=catalogue)
    live = State(catalogue, [])
    part.stand_beside(live)
    part.stand_beside(live)
    assert len(live.beside) == 1
    batch = toy_batch([8, 8, 8])
    known = int(batch.user.max())
    batch.req["user"][:] = known
    before = part.compute(batch, live)
    assert (before["history/length:frozen"] > 0).all()
    live.forget(known)
    after = part.compute(batch, live)
    batch.req["user"][:] = -1
    nobody = part.compute(batch, live)
    for name in after:
        if "/user" in name or "history" in name or "session" in name:
            np.testing.assert_array_equal(after[name], nobody[name], err_msg=name)


def test_it_reads_attributes_that_came_later() -> None:
    """A grown catalogue: an item that was not there at the fit has tags, and what the user did with those counts."""
    part, log = fitted()
    grown = toy_catalogue(items=60)
    live = State(grown, [])
    part.stand_beside(live)
    batch = toy_batch([60], items=60)
    made = part.compute(batch, live)["click per view/user x item.tags/1h:frozen"]
    old = by_hand(log, 1500, toy_batch([40]))
    assert not set(made[batch.item >= 40].tolist()) <= {float("nan")}
    whole = {int(item): value for item, value in zip(batch.item, made, strict=True)}
    # Items 3 and 43 have the same tags, and the user is the same.
    np.testing.assert_array_equal(whole[43], whole[3])
    assert len(old) > 0


def test_what_cannot_be_frozen() -> None:
    ctx = context(toy_catalogue())
    with pytest.raises(ConfigError, match=r"feature\.frozen\.families is empty; write at least one"):
        Frozen().folds(ctx)
    with pytest.raises(ConfigError, match=r"frozen\.families\[1\]: a second family is called 'pair'"):
        Frozen([{"type": "pair"}, {"type": "pair"}])
    with pytest.raises(ConfigError, match=r"frozen\.families\[0\]: 'auto' cannot be frozen by itself"):
        Frozen([{"type": "auto"}])
    with pytest.raises(ConfigError, match=r"frozen\.families\[0\]"):
        Frozen([{"type": "rate", "half": "1d"}])
    with pytest.raises(ConfigError, match=r"feature\.frozen\.rate: unknown key 'colour'"):
        Frozen([{"type": "rate", "over": ["view"], "by": ["colour"]}]).folds(ctx)
    twice = Frozen([{"type": "recency", "by": ["user"]}, {"type": "recency", "name": "again", "by": ["user"]}])
    twice.folds(ctx)
    twice.fit(Log(toy_events(10)), ctx)
    with pytest.raises(ConfigError, match=r"feature\.frozen\.again: the column 'positive/user/since' exists already"):
        twice.compute(toy_batch([2]), State(toy_catalogue(), []))


def test_auto_freezes_what_the_user_did() -> None:
    """The same families, each key once: his own as of the fit, all others live."""
    live, split = chosen(), chosen(part=Auto(own="frozen"))
    (own,) = [choice.entry["families"] for choice in split if choice.entry["type"] == "frozen"]
    kinds = {entry["type"] for entry in own}
    assert {"pair", "session", "similarity", "cooccurrence", "recency", "rate", "counts", "conditional"} <= kinds
    assert not {"attributes", "clock"} & kinds

    def keys(entries: list[dict[str, Any]]) -> set[tuple[str, str]]:
        return {(entry.get("name", entry["type"]), key) for entry in entries for key in entry.get("by", [])}

    plain = [choice.entry for choice in split if choice.entry["type"] != "frozen"]
    assert keys(plain) | keys(own) == keys([choice.entry for choice in live])
    assert all(key.startswith("user") and not key.startswith("user.") for _, key in keys(own))
    assert not any(key == "user" or key.startswith("user x") for _, key in keys(plain))
    both = chosen(part=Auto(own="both"))
    assert [choice.entry for choice in both[:-1]] == [choice.entry for choice in live]
    assert both[-1] == split[-1]
    Frozen(own).folds(context_of(encode(tables())))
