"""Rankers of the library hold the contract of rankers."""

from typing import Any

from shortlist.core.component import names
from shortlist.rank.average import Average
from shortlist.rank.blend import Blend
from shortlist.rank.catboost import Catboost
from shortlist.rank.linear import Linear
from shortlist.testing.conformance import RankerSuite


class TestLinear(RankerSuite):
    def part(self) -> Any:
        return Linear()


class TestAverage(RankerSuite):
    def part(self) -> Any:
        return Average(of=[{"type": "catboost", "iterations": 40}, {"type": "linear"}], weights=[2.0, 1.0])


class TestBlend(RankerSuite):
    def part(self) -> Any:
        return Blend(of={"type": "catboost", "iterations": 40})


class TestCatboost(RankerSuite):
    def part(self) -> Any:
        return Catboost(iterations=40)


def test_every_ranker_is_tested() -> None:
    """A new one needs its class here."""
    suites = [suite for name, suite in globals().items() if name.startswith("Test")]
    assert set(names("rank")) == {type(suite().part()).__module__.rpartition(".")[2] for suite in suites}
