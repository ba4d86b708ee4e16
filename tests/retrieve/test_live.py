"""Rows that live requests share: kept until an event comes, and the same as if they were made anew."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from shortlist.core.batch import Array
from shortlist.core.contracts import Mask
from shortlist.core.rng import rng
from shortlist.retrieve import _live
from shortlist.retrieve._live import shared_rows
from shortlist.state.state import State
from tests.state.toys import events, toy_catalogue

SIZE = 600


def mask(kind: str) -> Mask | None:
    """Nothing banned, a few, more than a kept list spares, or a shared mask."""
    draw = rng(0, kind)
    if kind == "none":
        return None
    if kind == "shared":
        return Mask(draw.random(SIZE) < 0.5)
    banned = draw.permutation(SIZE)[: 30 if kind == "few" else 400].astype(np.int32)
    return Mask(None, np.array([0, len(banned)]), banned)


@pytest.mark.parametrize("kind", ["none", "few", "many", "shared"])
@pytest.mark.parametrize("k", [5, 300])
def test_kept_is_as_made_anew(kind: str, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_live, "SPARE", 50)
    scores = np.round(rng(1, "scores").normal(size=SIZE), 1).astype(np.float32)  # with ties
    scores[::7] = np.nan
    state, groups = State(toy_catalogue()), (np.array([9]),)

    def row(i: int) -> Array:
        return scores.copy()

    expected = shared_rows(groups, row, k, mask(kind), -1.0)
    for _ in range(2):
        found = shared_rows(groups, row, k, mask(kind), -1.0, (state, "a name"))
        for one, other in ((found.items, expected.items), (found.scores, expected.scores), (found.full, expected.full)):
            np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
            assert np.asarray(one).dtype == np.asarray(other).dtype


def test_made_once_until_an_event_comes() -> None:
    state = State(toy_catalogue())
    made: list[int] = []

    def make() -> Any:
        made.append(state.count)
        return len(made)

    assert [state.once("x", make), state.once("x", make), state.once("y", make)] == [1, 1, 2]
    state.apply(events([1], [2], [3]))
    assert [state.once("x", make), state.once("x", make)] == [3, 3]
    for i in range(200):  # and it does not grow
        state.once(i, make)
    assert len(state._once[1]) <= 64
