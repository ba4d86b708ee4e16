"""Features of the library hold the contract of features."""

from typing import Any

from shortlist.feature.attributes import Attributes
from shortlist.feature.clock import Clock
from shortlist.feature.counts import Counts
from shortlist.feature.pair import Pair
from shortlist.feature.recency import Recency
from shortlist.feature.similarity import Similarity
from shortlist.feature.text import Text
from shortlist.feature.vectors import Vectors
from shortlist.testing.conformance import FeatureSuite


class TestAttributes(FeatureSuite):
    def part(self) -> Any:
        return Attributes()


class TestClock(FeatureSuite):
    def part(self) -> Any:
        return Clock()


class TestCounts(FeatureSuite):
    def part(self) -> Any:
        return Counts(by=["item", "user x item"], window=["1d"], total=True, share=True)


class TestPair(FeatureSuite):
    def part(self) -> Any:
        return Pair()


class TestRecency(FeatureSuite):
    def part(self) -> Any:
        return Recency()


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
