"""Filters and rules of the library hold their contracts."""

from typing import Any

from shortlist.core.component import names
from shortlist.order.available import Available
from shortlist.order.boost import Boost
from shortlist.order.cap import Cap
from shortlist.order.epsilon_greedy import EpsilonGreedy
from shortlist.order.mmr import Mmr
from shortlist.order.plackett_luce import PlackettLuce
from shortlist.order.seen import Seen
from shortlist.order.top import Top
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
