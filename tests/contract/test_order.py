"""Filters and rules of the library hold their contracts."""

from typing import Any

from shortlist.core.component import find, names
from shortlist.order.available import Available
from shortlist.order.boost import Boost
from shortlist.order.cap import Cap
from shortlist.order.epsilon_greedy import EpsilonGreedy
from shortlist.order.mmr import Mmr
from shortlist.order.plackett_luce import PlackettLuce
from shortlist.order.seen import Seen
from shortlist.order.top import Top
from shortlist.pipeline.limits import ON_ERROR
from shortlist.testing.conformance import FilterSuite, RuleSuite


class TestSeen(FilterSuite):
    def part(self) -> Any:
        return Seen()


class TestSeenForADay(FilterSuite):
    def part(self) -> Any:
        return Seen(event=("impression",), within="1d")


class TestAvailable(FilterSuite):
    def part(self) -> Any:
        return Available()


class TestBoost(RuleSuite):
    def part(self) -> Any:
        return Boost([{"places": 3, "by": "category", "value": "books"}, {"places": -2, "items": ["i00001", "i00007"]}])


class TestCap(RuleSuite):
    def part(self) -> Any:
        return Cap(most=2, within=8)


class TestMmr(RuleSuite):
    def part(self) -> Any:
        return Mmr(by="category", weight=0.5)


class TestEpsilonGreedy(RuleSuite):
    def part(self) -> Any:
        return EpsilonGreedy(epsilon=0.5, places=5, depth=12)


class TestPlackettLuce(RuleSuite):
    def part(self) -> Any:
        return PlackettLuce(temperature=0.5, depth=20)


class TestTop(RuleSuite):
    def part(self) -> Any:
        return Top(k=4)


def test_every_filter_and_rule_is_tested() -> None:
    """A new one needs its class here."""
    suites = [suite for name, suite in globals().items() if name.startswith("Test")]
    assert set(names("order")) == {type(suite().part()).__module__.rpartition(".")[2] for suite in suites}


def test_every_filter_says_what_happens_when_it_fails() -> None:
    """Declared by the class, not left to a default: nobody may be surprised by what a service shows without it."""
    found = [find("order", name) for name in names("order")]
    filters = [part for part in found if hasattr(part, "keep")]
    assert filters
    for part in filters:
        assert vars(part).get("on_error") in ON_ERROR["filter"], part
