"""Every fold of the library holds the contract of folds."""

from typing import Any

from shortlist.core.component import names
from shortlist.state.fold.count import Count
from shortlist.state.fold.decay import Decay
from shortlist.state.fold.distinct import Distinct
from shortlist.state.fold.first import First
from shortlist.state.fold.follow import Follow
from shortlist.state.fold.gap import Gap
from shortlist.state.fold.last import Last
from shortlist.state.fold.mean import Mean
from shortlist.state.fold.rate import Rate
from shortlist.state.fold.session import Session
from shortlist.state.fold.value import Value
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


class TestMean(FoldSuite):
    def part(self) -> Any:
        return Mean(("item",), ("purchase",), "1d")


class TestMeanForEver(FoldSuite):
    def part(self) -> Any:
        return Mean(("user", "item.category"), ("purchase",))


class TestSession(FoldSuite):
    def part(self) -> Any:
        return Session(("user",), ("click",), "20m")


class TestGap(FoldSuite):
    def part(self) -> Any:
        return Gap(("user",))


class TestValue(FoldSuite):
    def part(self) -> Any:
        return Value(("user",), ("purchase",))


class TestDistinct(FoldSuite):
    def part(self) -> Any:
        return Distinct(("user",), ("click",))


class TestDistinctUsersWithLittleRoom(FoldSuite):
    def part(self) -> Any:
        return Distinct(("item",), (), "user", pairs=200)


class TestFollow(FoldSuite):
    def part(self) -> Any:
        return Follow(room=5)


def test_every_fold_is_tested() -> None:
    """A new fold needs its class here."""
    tested = {type(suite().part()).__module__.rpartition(".")[2] for suite in FoldSuite.__subclasses__()}
    assert set(names("state.fold")) <= tested
