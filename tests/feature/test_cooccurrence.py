"""Co-occurrence with the history against plain loops: live neighbours, and pairs counted at the fit."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import pytest

from shortlist.core.batch import Array
from shortlist.core.errors import ConfigError
from shortlist.data.log import Log
from shortlist.data.pairs import NORMS
from shortlist.feature.cooccurrence import Cooccurrence
from shortlist.state.fold.follow import Follow
from shortlist.state.state import State
from tests.feature.slow import CATALOGUE, CTX, EVENTS, POSITIVE, asked, computed, events_by, history, rows, same
from tests.state.folds import beside, rings

LENGTHS = {"1h": 3600.0, "2h": 7200.0, "6h": 21_600.0, "12h": 43_200.0}
OPTIONS: list[dict[str, Any]] = [
    {},
    {"last": 1},
    {"last": 8, "recency": 0.5, "weights": {"buy": 3.0, "click": 0.25}, "half_life": "1h"},
    {"event": ("view",), "recency": 0.0, "room": 5, "within": "2h"},
    {"event": ("click", "view"), "recency": 1.0, "window": 2, "k": 3, "within": "2h"},
]


def anchors(user: int, part: Cooccurrence) -> list[tuple[int, float]]:
    """Items with their weights, newest first."""
    own = history(user, part.event or POSITIVE, part.last)[::-1]
    return [(event.item, part.weights.get(event.kind, 1.0) * part.recency**place) for place, event in enumerate(own)]


def three(found: list[tuple[float, float]]) -> dict[str, float]:
    """Sum, max and last of (weight, value) pairs, newest first; a value of nothing is 0."""
    weighed = [weight * value for weight, value in found]
    return (
        {"sum": math.fsum(weighed), "max": max([0.0, *weighed]), "last": found[0][1]}
        if found
        else dict.fromkeys(("sum", "max", "last"), math.nan)
    )


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_live(options: dict[str, Any]) -> None:
    """The rings of `follow` by its definition, weighed by kind, place and age."""
    part = Cooccurrence(norm=[], **options)
    columns = computed(part)
    entries = rings(Follow(("user",), part.event or POSITIVE, room=part.room, within=part.within), EVENTS)
    life = LENGTHS[part.half_life]
    expected: dict[str, list[float]] = {"sum": [], "max": [], "last": []}
    for row in rows():
        found = [(weight, beside(entries, item, row.item, row.later, life)) for item, weight in anchors(row.user, part)]
        for name, value in three(found).items():
            expected[name].append(value)
    assert list(columns) == [f"cooccurrence/live/{name}" for name in expected]
    for name, values in expected.items():
        same(columns[f"cooccurrence/live/{name}"], values)


def pairs(event: tuple[str, ...], window: int, within: float) -> tuple[Array, Array]:
    """(items, items) summed 1 / places of events of one user at most `window` places and `within` seconds apart, and how often."""
    weight, support = np.zeros((40, 40)), np.zeros((40, 40), dtype=int)
    for user in range(20):
        own = [each for each in events_by("user")[(user,)] if each.kind in event]
        for i, a in enumerate(own):
            for j, b in enumerate(own):
                if a.item != b.item and 0 < abs(i - j) <= window and abs(a.time - b.time) <= within:
                    weight[a.item, b.item] += 1 / abs(i - j)
                    support[a.item, b.item] += 1
    return weight, support


def measured(weight: Array, norm: str, a: int, b: int) -> float:
    """The measures by their definitions."""
    both, one, other, total = (float(x) for x in (weight[a, b], weight[a].sum(), weight[:, b].sum(), weight.sum()))
    lift = both * total / (one * other)
    return {
        "count": both,
        "conditional": both / one,
        "cosine": both / math.sqrt(one * other),
        "lift": lift,
        "npmi": math.log(lift) / -math.log(both / total),
    }[norm]


@functools.cache
def partners(norm: str, event: tuple[str, ...], window: int, within: float, k: int) -> dict[int, dict[int, float]]:
    """Every item's k best partners, met twice at least, with a measure above 0."""
    weight, support = pairs(event, window, within)
    kept = {}
    for a in range(40):
        found = {b: measured(weight, norm, a, b) for b in range(40) if support[a, b] >= 2}
        best = sorted((b for b in found if found[b] > 0), key=lambda b: (-np.float32(found[b]), b))[:k]
        kept[a] = {b: found[b] for b in best}
    return kept


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("norm", NORMS)
def test_of_the_fit(norm: str, options: dict[str, Any]) -> None:
    """Every measure, of pairs of the log, weighed by kind and place."""
    part = Cooccurrence(live=False, norm=[norm], **options)
    columns = computed(part)
    table = partners(norm, part.event or POSITIVE, part.window, LENGTHS[part.within], part.k)
    expected: dict[str, list[float]] = {"sum": [], "max": [], "last": []}
    for row in rows():
        found = [(weight, table[item].get(row.item, 0.0)) for item, weight in anchors(row.user, part)]
        for name, value in three(found).items():
            expected[name].append(value)
    assert list(columns) == [f"cooccurrence/{norm}/{name}" for name in expected]
    for name, values in expected.items():
        same(columns[f"cooccurrence/{norm}/{name}"], values)


def test_several_measures_are_one_after_another() -> None:
    """Each as alone; live ones first."""
    columns = computed(Cooccurrence(norm=list(NORMS)))
    assert [name.split("/")[1] for name in columns][::3] == ["live", *NORMS]
    for norm in NORMS:
        for name, column in computed(Cooccurrence(live=False, norm=[norm])).items():
            np.testing.assert_array_equal(columns[name], column)


def test_nobody_has_no_history() -> None:
    """NaN, not 0: there is nothing to go with."""
    for name, column in computed(Cooccurrence()).items():
        for row, value in zip(rows(), column.tolist(), strict=True):
            assert math.isnan(value) == (row.user < 0), name


def test_nothing_to_count() -> None:
    """A fit on an empty log gives columns of nothing."""
    part = Cooccurrence(norm=["npmi", "count"])
    state = State(CATALOGUE, part.folds(CTX))
    part.fit(Log({name: column[:0] for name, column in EVENTS.items()}), CTX)
    state.apply(EVENTS)
    columns = part.compute(asked(), state)
    known = np.array([row.user >= 0 for row in rows()])
    assert (columns["cooccurrence/count/sum"][known] == 0).all()
    assert np.isnan(columns["cooccurrence/count/sum"][~known]).all()


def test_cooccurrence_refuses_what_cannot_be_meant() -> None:
    with pytest.raises(
        ConfigError,
        match=r"^cooccurrence.norm: 'pmi' is not a measure; choices: npmi, lift, conditional, cosine, count$",
    ):
        Cooccurrence(norm=["npmi", "pmi"]).folds(CTX)
    with pytest.raises(
        ConfigError, match=r"^cooccurrence.weights: unknown event kind 'sale'; the data have: click, buy, view$"
    ):
        Cooccurrence(weights={"sale": 2.0}).folds(CTX)
