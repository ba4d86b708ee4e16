"""Rankers of the library hold the contract of rankers."""

from typing import Any

from shortlist.rank.catboost import Catboost
from shortlist.rank.linear import Linear
from shortlist.testing.conformance import RankerSuite


class TestLinear(RankerSuite):
    def part(self) -> Any:
        return Linear()


class TestCatboost(RankerSuite):
    def part(self) -> Any:
        return Catboost(iterations=40)
