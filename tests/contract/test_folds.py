"""Every fold of the library holds the contract of folds."""

from typing import Any

from shortlist.core.component import names
from shortlist.state.fold.count import Count
from shortlist.state.fold.decay import Decay
from shortlist.state.fold.first import First
from shortlist.state.fold.last import Last
from shortlist.state.fold.rate import Rate
from shortlist.state.fold.window import Window
from shortlist.testing.conformance import FoldSuite


class TestCount(FoldSuite):
    def part(self) -> Any:
        return Count(("item",), ("click",))


class TestCountByPair(FoldSuite):
    def part(self) -> Any:
        return Count(("user", "item"), ("impression",))


class TestDecay(FoldSuite):
    def part(self) -> Any:
        return Decay(("item",), ("click",), ("6h",))


class TestDecayByPair(FoldSuite):
    def part(self) -> Any:
        return Decay(("device", "item"), (), ("10m",))


class TestWindow(FoldSuite):
    def part(self) -> Any:
        return Window(("user",), (), "12h", 6)


class TestFirst(FoldSuite):
    def part(self) -> Any:
        return First(("item",), ("click",))


class TestLast(FoldSuite):
    def part(self) -> Any:
        return Last(("item",), ("click",))


class TestRate(FoldSuite):
    def part(self) -> Any:
        return Rate(("item",), ("click",), ("impression",), ("6h", ""))


class TestRateWithoutTheRunningSession(FoldSuite):
    def part(self) -> Any:
        return Rate(("user",), ("purchase",), ("impression",), ("1d",), weigh=True, hold="30m")


class TestRateOfThePast(FoldSuite):
    def part(self) -> Any:
        return Rate(("user", "item"), ("click",), (), ("2d", ""), prior=2.0, lag="1d")


def test_every_fold_is_tested() -> None:
    """A new fold needs its class here."""
    tested = {type(suite().part()).__module__.rpartition(".")[2] for suite in FoldSuite.__subclasses__()}
    assert set(names("state.fold")) <= tested
