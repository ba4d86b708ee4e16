"""Features of the library hold the contract of features."""

from typing import Any

from shortlist.core.component import find, names
from shortlist.feature.attributes import Attributes
from shortlist.feature.clock import Clock
from shortlist.feature.conditional import Conditional
from shortlist.feature.cooccurrence import Cooccurrence
from shortlist.feature.counts import Counts
from shortlist.feature.frozen import Frozen
from shortlist.feature.mean import Mean
from shortlist.feature.pair import Pair
from shortlist.feature.rate import Rate
from shortlist.feature.recency import Recency
from shortlist.feature.session import Session
from shortlist.feature.similarity import Similarity
from shortlist.feature.text import Text
from shortlist.feature.vectors import Vectors
from shortlist.testing.conformance import FeatureSuite
from tests.parity.worlds import FEATURES

KEYS = [
    "item",
    "user",
    "item.tags",
    "user x item",
    "user x item.tags",
    "last x item",
    "user.country x item.category x hour",
]


class TestAttributes(FeatureSuite):
    def part(self) -> Any:
        return Attributes(context=["device"])


class TestClock(FeatureSuite):
    def part(self) -> Any:
        return Clock()


class TestConditional(FeatureSuite):
    def part(self) -> Any:
        return Conditional(segment=["user.*", "device", "last"], half_life=["6h", "3d"])


class TestConditionalTags(FeatureSuite):
    def part(self) -> Any:
        return Conditional(segment=["user.country", "last.category"], what="item.tags", lift=False)


class TestCooccurrence(FeatureSuite):
    def part(self) -> Any:
        return Cooccurrence(norm=["npmi", "cosine"])


class TestCooccurrenceLive(FeatureSuite):
    def part(self) -> Any:
        return Cooccurrence(norm=[], event=("click", "purchase"), weights={"purchase": 3.0}, last=20, room=8)


class TestCounts(FeatureSuite):
    def part(self) -> Any:
        return Counts(by=KEYS, window=["1d"], total=True, share=True)


class TestFrozen(FeatureSuite):
    def part(self) -> Any:
        return Frozen(
            [
                {"type": "rate", "by": ["user", "user x item.tags"], "hold": "30m"},
                {"type": "pair"},
                {"type": "similarity", "dim": 4},
            ]
        )


class TestMean(FeatureSuite):
    def part(self) -> Any:
        return Mean(by=KEYS, event=("purchase",))


class TestPair(FeatureSuite):
    def part(self) -> Any:
        return Pair()


class TestRate(FeatureSuite):
    def part(self) -> Any:
        return Rate(by=KEYS, total=True)


class TestRateHeld(FeatureSuite):
    def part(self) -> Any:
        return Rate(by=["user", "user x item.tags"], hold="30m", prior=0.0)


class TestRateLagged(FeatureSuite):
    def part(self) -> Any:
        return Rate(by=["item", "user x item"], event=("purchase",), over=("click",), weigh=True, lag="1d")


class TestRecency(FeatureSuite):
    def part(self) -> Any:
        return Recency(by=KEYS, first=True, gap=True)


class TestSession(FeatureSuite):
    def part(self) -> Any:
        return Session(kinds=4)


class TestSimilarity(FeatureSuite):
    def part(self) -> Any:
        return Similarity(dim=6)


class TestSimilarityAls(FeatureSuite):
    def part(self) -> Any:
        return Similarity(vectors="als", dim=5, last=5)


class TestSimilarityContent(FeatureSuite):
    def part(self) -> Any:
        return Similarity(vectors="content", dim=7)


class TestText(FeatureSuite):
    def part(self) -> Any:
        return Text(dim=10)


class TestVectors(FeatureSuite):
    def part(self) -> Any:
        return Vectors(dim=4)


def test_every_feature_is_tested() -> None:
    """By a suite; one that stands for others (it has `choose`) by being settled in the tests of parity, and in tests/feature."""
    suites = [suite for name, suite in globals().items() if name.startswith("Test")]
    tested = {type(suite().part()) for suite in suites}
    for name in names("feature"):
        part = find("feature", name)
        if hasattr(part, "choose"):
            assert name in {entry["type"] for entry in FEATURES}
        else:
            assert part in tested, f"no suite tests {name}"
