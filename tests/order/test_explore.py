"""Rules that draw: what they record as propensity is the probability of what they show, by enumeration and by counting."""

import itertools
import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from shortlist.core.batch import Array, Batch
from shortlist.core.errors import ConfigError
from shortlist.core.rng import rng
from shortlist.core.rows import offsets_of
from shortlist.order.epsilon_greedy import EpsilonGreedy
from shortlist.order.plackett_luce import PlackettLuce
from shortlist.pipeline.config import parse
from shortlist.state.state import State
from tests.order.checks import generator, rule_rows
from tests.state.toys import toy_batch, toy_catalogue

SCORES = (1.5, 0.2, -0.3, -2.0)


def ranked(scores: Any, n: int) -> Batch:
    """n equal requests with these scores, best first; items 0, 1, ..."""
    scores = np.asarray(scores, dtype=np.float32)
    batch = Batch.of(np.arange(n), np.array(0))
    item = np.tile(np.arange(len(scores), dtype=np.int32), n)
    return Batch(batch.req, offsets_of(np.full(n, len(scores))), {"item": item, "score": np.tile(scores, n)})


def lists(rule: Any, batch: Batch) -> tuple[Array, Array]:
    """(n, rows) items in the order drawn, and their propensities."""
    rows, propensity = rule.drawn(batch, State(toy_catalogue()), lambda i: rng(7, i))
    assert rows.tolist() == rule.rows(batch, State(toy_catalogue()), lambda i: rng(7, i)).tolist()
    return batch.item[rows].reshape(batch.n, -1), propensity.reshape(batch.n, -1)


def luce(order: tuple[int, ...], scores: Any, temperature: float) -> list[float]:
    """Plackett & Luce's definition, place after place."""
    weights = [math.exp(score / temperature) for score in scores]
    out, left = [], list(range(len(scores)))
    for item in order:
        out.append(weights[item] / sum(weights[other] for other in left))
        left.remove(item)
    return out


def greedy(order: tuple[int, ...], epsilon: float, places: int, depth: int) -> list[float]:
    """Epsilon-greedy's definition, place after place; rows that are not drawn stand where they must, or the list is impossible."""
    out, left, last = [], list(range(len(order)))[:depth], list(range(len(order)))[depth:]
    for place, item in enumerate(order):
        if place < min(places, depth):
            drawn = epsilon / len(left) if item in left else 0.0
            out.append(drawn + (1 - epsilon if item == left[0] else 0.0))
        else:
            out.append(1.0 if item == (left + last)[0] else 0.0)
        if not out[-1]:
            return [0.0]
        (left if item in left else last).remove(item)
    return out


RULES: list[tuple[Any, Callable[[tuple[int, ...]], list[float]]]] = [
    (PlackettLuce(temperature=1.0, depth=0), lambda order: luce(order, SCORES, 1.0)),
    (PlackettLuce(temperature=0.7, depth=4), lambda order: luce(order, SCORES, 0.7)),
    (EpsilonGreedy(epsilon=0.4), lambda order: greedy(order, 0.4, 10, 4)),
    (EpsilonGreedy(epsilon=0.6, places=2, depth=3), lambda order: greedy(order, 0.6, 2, 3)),
]


@pytest.mark.parametrize(("rule", "definition"), RULES, ids=lambda value: repr(value) if not callable(value) else "")
def test_propensities_are_probabilities(rule: Any, definition: Any) -> None:
    """Every list's propensities are those of the definition, all lists together are certain, and each comes as often as it says."""
    n = 40_000
    shown, propensity = lists(rule, ranked(SCORES, n))
    exact = {order: math.prod(definition(order)) for order in itertools.permutations(range(len(SCORES)))}
    assert sum(exact.values()) == pytest.approx(1.0)
    counted: Counter[tuple[int, ...]] = Counter()
    for order, told in zip(map(tuple, shown.tolist()), propensity, strict=True):
        if order not in counted:
            np.testing.assert_allclose(told, definition(order), rtol=1e-6)
        counted[order] += 1
    chi = sum((counted[order] - n * p) ** 2 / (n * p) for order, p in exact.items() if p)
    assert all(exact[order] for order in counted)
    assert chi < 2 * len(exact) + 20  # 23 degrees of freedom: mean 23, and 66 is beyond 1 in 10,000


def test_temperature_zero_sorts() -> None:
    """At 0 the order is that of the scores, and near 0 it is, too; negative scores included."""
    batch = ranked(SCORES, 50)
    for temperature in (0.0, 1e-3, 1e-300):
        shown, propensity = lists(PlackettLuce(temperature=temperature), batch)
        assert (shown == np.arange(len(SCORES))).all()
        np.testing.assert_allclose(propensity, 1.0)


def test_hot_is_even() -> None:
    """A large temperature gives every order the same chance."""
    _, propensity = lists(PlackettLuce(temperature=1e9), ranked(SCORES, 5))
    np.testing.assert_allclose(propensity, np.tile([1 / 4, 1 / 3, 1 / 2, 1], (5, 1)), rtol=1e-6)


def test_only_differences_count() -> None:
    moved, propensity = lists(PlackettLuce(temperature=0.5), ranked(np.array(SCORES) - 1000.0, 200))
    shown, expected = lists(PlackettLuce(temperature=0.5), ranked(SCORES, 200))
    assert (moved == shown).all()
    np.testing.assert_allclose(propensity, expected, rtol=1e-3)


def test_scores_that_are_not_finite_sink() -> None:
    shown, propensity = lists(PlackettLuce(temperature=5.0), ranked([3.0, 1.0, np.nan, -np.inf], 100))
    assert (np.sort(shown[:, :2]) == [0, 1]).all()
    assert (shown[:, 2:] == [2, 3]).all()
    assert (propensity[:, 1:] == 1.0).all()
    shown, propensity = lists(PlackettLuce(), ranked([np.nan, np.inf], 3))
    assert (shown == [0, 1]).all()
    assert (propensity == 1.0).all()


def test_epsilon_zero_and_one() -> None:
    shown, propensity = lists(EpsilonGreedy(epsilon=0.0), ranked(SCORES, 20))
    assert (shown == np.arange(4)).all()
    assert (propensity == 1.0).all()
    _, propensity = lists(EpsilonGreedy(epsilon=1.0), ranked(SCORES, 20))
    np.testing.assert_allclose(propensity, np.tile([1 / 4, 1 / 3, 1 / 2, 1], (20, 1)))


@pytest.mark.parametrize("rule", [PlackettLuce(depth=3), EpsilonGreedy(epsilon=0.5, places=2, depth=5)])
def test_rows_are_kept_and_batches_are_single(rule: Any) -> None:
    batch = toy_batch([7, 0, 1, 12], seed=3)
    batch = batch.with_columns({"score": np.linspace(1, 0, batch.m).astype(np.float32)})
    shown = rule_rows(rule, batch, State(toy_catalogue()))
    assert [sorted(items) for items in shown] == [sorted(batch.request(i).item.tolist()) for i in range(batch.n)]
    propensity = rule.drawn(batch, State(toy_catalogue()), generator)[1]
    assert propensity.shape == (batch.m,)
    assert ((propensity > 0) & (propensity <= 1)).all()


def test_plackett_luce_needs_a_score() -> None:
    with pytest.raises(ConfigError, match="plackett_luce: the candidates have no column 'score'"):
        PlackettLuce().rows(toy_batch([2]).without(["score"]), State(toy_catalogue()), generator)


def test_nothing_may_reorder_what_was_drawn() -> None:
    """A rule behind would make the recorded propensities wrong; a cut does not."""
    source = [{"type": "popular"}]
    parse({"source": source, "rule": [{"type": "cap"}, {"type": "epsilon_greedy"}, {"type": "top"}]})
    with pytest.raises(
        ConfigError, match=r"rule\[1\]: cap after epsilon_greedy, whose propensities it would make wrong"
    ):
        parse({"source": source, "rule": [{"type": "epsilon_greedy"}, {"type": "cap"}]})
    with pytest.raises(ConfigError, match=r"rule\[1\]: plackett_luce after epsilon_greedy"):
        parse({"source": source, "rule": [{"type": "epsilon_greedy"}, {"type": "plackett_luce"}]})
