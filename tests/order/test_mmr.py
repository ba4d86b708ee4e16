import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.core.contracts import FitContext
from shortlist.core.errors import ConfigError
from shortlist.data.log import Log
from shortlist.order.mmr import Mmr, _jaccard
from shortlist.state.state import State
from tests.order.checks import rule_rows
from tests.state.toys import CATEGORIES, toy_batch, toy_catalogue, toy_events


def alike(by: str, first: int, second: int) -> float:
    """Similarity of two toy items, by its definition."""
    if by == "vector":
        if first % 7 == 0 or second % 7 == 0:
            return 0.0
        a, b = ([float(i % 3 - 1), 0.5, float(i % 5 - 2)] for i in (first, second))
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        return dot / math.sqrt(sum(x * x for x in a) * sum(x * x for x in b))
    sets = [{CATEGORIES[i % 6]} - {None} if by == "category" else set(range(i % 4)) for i in (first, second)]
    return len(sets[0] & sets[1]) / max(len(sets[0] | sets[1]), 1)


def reranked(items: list[int], scores: list[float], by: str, weight: float, depth: int) -> list[int]:
    """The definition, with lists."""
    head = list(range(min(depth, len(items))))
    placed: list[int] = []
    known = [scores[i] for i in head if math.isfinite(scores[i])]
    span = max(known) - min(known) if known else 0.0

    def worth(i: int) -> float:
        if not math.isfinite(scores[i]):
            return -math.inf
        relevance = (scores[i] - min(known)) / span if span else 0.0
        nearest = max((alike(by, items[i], items[j]) for j in placed), default=0.0)
        return weight * relevance - (1.0 - weight) * nearest

    while head:
        best = min(head, key=lambda i: (-worth(i), items[i]))
        head.remove(best)
        placed.append(best)
    return [items[i] for i in placed] + items[depth:]


@settings(max_examples=100)
@given(
    counts=st.lists(st.integers(0, 15), max_size=4),
    by=st.sampled_from(["category", "tags", "vector"]),
    weight=st.sampled_from([0.0, 0.25, 0.5, 0.7, 1.0]),
    depth=st.sampled_from([1, 4, 9, 50]),
    seed=st.integers(0, 1000),
    broken=st.sets(st.integers(0, 30)),
)
def test_equals_its_definition(
    counts: list[int], by: str, weight: float, depth: int, seed: int, broken: set[int]
) -> None:
    batch = toy_batch(counts, seed=seed)
    spoilt = [
        np.float32([np.nan, np.inf, -np.inf][i % 3]) if i in broken else batch.cand["score"][i] for i in range(batch.m)
    ]
    batch = batch.with_columns({"score": np.array(spoilt, dtype=np.float32)})
    expected = [
        reranked(one.item.tolist(), one.cand["score"].tolist(), by, weight, depth)
        for one in (batch.request(i) for i in range(batch.n))
    ]
    assert rule_rows(Mmr(by, weight, depth), batch, State(toy_catalogue())) == expected


def test_the_score_alone_keeps_the_order() -> None:
    batch = toy_batch([12]).with_columns({"score": np.arange(12, 0, -1).astype(np.float32)})
    assert rule_rows(Mmr(weight=1.0), batch, State(toy_catalogue())) == [batch.item.tolist()]


def test_tags_listed_twice_count_once() -> None:
    lists = [np.array(tags, dtype=np.int32) for tags in ([1, 1, 2], [2, 3, 3, 3], [])]
    assert _jaccard(lists[0], lists[1]) == _jaccard(lists[1], lists[0]) == 1 / 3
    assert _jaccard(lists[0], lists[0]) == 1.0
    assert _jaccard(lists[2], lists[2]) == _jaccard(lists[0], lists[2]) == 0.0


def test_errors_name_the_choices() -> None:
    context = FitContext(toy_catalogue(), positive=(), place="recipe: rule[0]")
    with pytest.raises(
        ConfigError, match=r"rule\[0\]: item column 'price' is a number column; .*: category, tags, vector"
    ):
        Mmr("price").fit(Log(toy_events(3)), context)
    with pytest.raises(ConfigError, match=r"mmr: the candidates have no column 'score'; columns: item"):
        rule_rows(Mmr(), toy_batch([3]).without(["score"]), State(toy_catalogue()))
