"""The batch against lists of requests."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.core.batch import Batch, concat

Request = tuple[int, list[tuple[int, float]]]  # user, then (item, score) per row
REQUESTS = st.lists(
    st.tuples(st.integers(-1, 9), st.lists(st.tuples(st.integers(0, 99), st.floats(-5, 5, width=32)), max_size=6)),
    max_size=5,
)


def made(requests: list[Request]) -> Batch:
    """The batch of these requests; request i is made at time 100 + its user."""
    users = np.array([user for user, _ in requests], dtype=np.int32)
    rows = [row for _, own in requests for row in own]
    offsets = np.cumsum([0, *(len(own) for _, own in requests)], dtype=np.int64)
    cand = {
        "item": np.array([item for item, _ in rows], dtype=np.int32),
        "score": np.array([score for _, score in rows], dtype=np.float32),
        "wide": np.array([[item, -item] for item, _ in rows], dtype=np.float32).reshape(-1, 2),
    }
    return Batch(Batch.of(users, 100 + users.astype(np.int64)).req, offsets, cand)


def told(batch: Batch) -> list[Request]:
    """The requests of a batch; checks that its columns belong together."""
    assert batch.time.tolist() == (100 + batch.user).tolist()
    assert batch.cand["wide"].tolist() == [[item, -item] for item in batch.item]
    assert {len(column) for column in batch.cand.values()} == {batch.m}
    pairs = list(zip(batch.item.tolist(), batch.cand["score"].tolist(), strict=True))
    edges = batch.offsets.tolist()
    return [(int(batch.user[i]), pairs[edges[i] : edges[i + 1]]) for i in range(batch.n)]


@settings(max_examples=100)
@given(REQUESTS, st.data())
def test_take_keep_only_request(requests: list[Request], data: st.DataObject) -> None:
    batch = made(requests)
    assert told(batch) == requests
    assert batch.n == len(requests)
    assert batch.owner.tolist() == [i for i, (_, own) in enumerate(requests) for _ in own]
    places = [data.draw(st.lists(st.sampled_from(range(len(own))), max_size=8)) if own else [] for _, own in requests]
    rows = [int(batch.offsets[i]) + place for i, own in enumerate(places) for place in own]
    taken = batch.take(np.array(rows, dtype=np.int64))
    assert told(taken) == [(user, [own[j] for j in places[i]]) for i, (user, own) in enumerate(requests)]

    mask = data.draw(st.lists(st.booleans(), min_size=batch.m, max_size=batch.m))
    kept = batch.keep(np.array(mask, dtype=bool))
    flags = iter(mask)
    assert told(kept) == [(user, [row for row in own if next(flags)]) for user, own in requests]

    chosen = data.draw(st.lists(st.sampled_from(range(len(requests))), max_size=7)) if requests else []
    assert told(batch.only(np.array(chosen, dtype=np.int64))) == [requests[i] for i in chosen]
    assert [told(batch.request(i))[0] for i in range(batch.n)] == requests
    assert told(batch) == requests  # nothing is changed in place


@settings(max_examples=50)
@given(st.lists(REQUESTS, min_size=1, max_size=4))
def test_concat(parts: list[list[Request]]) -> None:
    whole = concat([made(part) for part in parts])
    assert told(whole) == [request for part in parts for request in part]
    assert whole.offsets.dtype == np.int64


@settings(max_examples=50)
@given(REQUESTS)
def test_spread(requests: list[Request]) -> None:
    batch = made(requests)
    assert batch.spread(batch.user).tolist() == [user for user, own in requests for _ in own]
    wide = np.array([[user, 2 * user] for user, _ in requests]).reshape(-1, 2)
    assert batch.spread(wide).tolist() == [[user, 2 * user] for user, own in requests for _ in own]


def test_columns_come_and_go_without_a_copy() -> None:
    batch = made([(3, [(1, 0.5), (2, 0.25)])])
    more = batch.with_columns({"age": np.array([1, 2]), "score": np.array([7.0, 8.0])})
    assert more.cand["score"].tolist() == [7.0, 8.0]
    assert batch.cand["score"].tolist() == [0.5, 0.25]
    assert more.cand["item"] is batch.cand["item"]
    assert list(more.without(["score", "unknown"]).cand) == ["item", "wide", "age"]
    assert "score" in more.cand


@pytest.mark.parametrize("time", [np.array(7), np.array([7]), np.array([7, 7, 7])])
def test_of_makes_requests_without_candidates(time: Any) -> None:
    batch = Batch.of(np.array([4, -1, 0]), time, device=np.array([1, 2, 3]))
    assert (batch.n, batch.m) == (3, 0)
    assert [str(column.dtype) for column in (batch.user, batch.time, batch.item)] == ["int32", "int64", "int32"]
    assert batch.time.tolist() == [7, 7, 7]
    assert list(batch.req) == ["user", "time", "device"]
    assert batch.keep(np.zeros(0, dtype=bool)).n == 3
