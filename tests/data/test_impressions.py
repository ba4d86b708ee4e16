"""Impressions, what answers them, and the requests that they make, against plain loops: ties, duplicates, ids that are there for
some events only, answers before their impression and after the window."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.core.batch import Array
from shortlist.data.dataset import Dataset, from_frames
from shortlist.data.impressions import grades_of, join, rates, requests
from shortlist.data.timeline import Requests, Split

FIRST = 1_700_006_400
KINDS = ("impression", "click", "buy", "other")
GRADES = {"click": 1.0, "buy": 3.0}
WITHIN = 5


def data_of(rows: list[tuple[int, int, int, int, int | None]], position: bool = False) -> Dataset:
    """Events (user, item, time after FIRST, kind, request); four first that bring every kind, and the highest item and user."""
    first = [(9, 9, 0, kind, None) for kind in range(4)]
    every = [*first, *((user, item, time + 100, kind, request) for user, item, time, kind, request in rows)]
    table: dict[str, list[Any]] = {
        "user_id": [f"u{(user * 7) % 10}" for user, *_ in every],
        "item_id": [f"i{(item * 7) % 10}" for _, item, *_ in every],
        "time": [FIRST + time for _, _, time, _, _ in every],
        "event": [KINDS[kind] for *_, kind, _ in every],
    }
    if any(request is not None for *_, request in every):
        table["request_id"] = [request for *_, request in every]
    if position:
        table["position"] = list(range(len(every)))
    return from_frames(table)


@st.composite
def logs(draw: st.DrawFn) -> Dataset:
    """Few users, items and seconds, so that everything collides."""
    event = st.tuples(
        st.integers(0, 2),
        st.integers(0, 2),
        st.integers(0, 14),
        st.sampled_from([0, 0, 0, 1, 1, 2, 3]),
        st.sampled_from([None, None, 0, 1, 2]) if draw(st.booleans()) else st.none(),
    )
    return data_of(draw(st.lists(event, max_size=40)), draw(st.booleans()))


def codes(data: Dataset) -> tuple[Array, Array, Array]:
    """Impression kind, positive kinds, grades by kind."""
    kinds = data.catalogue.kind_codes
    positive = kinds(list(GRADES))
    return kinds(["impression"]), positive, grades_of(positive, {int(kinds([k])[0]): v for k, v in GRADES.items()})


def request_of(data: Dataset, row: int) -> int:
    """The request of an event, -1 without."""
    return int(data.log.columns["request"][row]) if "request" in data.log.columns else -1


def slow_join(data: Dataset, start: int, stop: int) -> list[tuple[int, float, int, bool]]:
    """(row, grade, first answer, logged again) of every impression, from the definition."""
    log = data.log
    name = [str(data.catalogue.kinds.name(int(kind))) for kind in log.kind]
    shown = [row for row in range(start, stop) if name[row] == "impression"]

    def same(a: int, b: int) -> bool:
        return bool(log.user[a] == log.user[b] and log.item[a] == log.item[b])

    answers: dict[int, list[int]] = {row: [] for row in shown}
    for event in range(start, stop):
        if name[event] not in GRADES:
            continue
        if request_of(data, event) >= 0:
            for row in shown:
                if same(row, event) and request_of(data, row) == request_of(data, event):
                    answers[row].append(event)
        before = [row for row in shown if row < event and same(row, event)]
        if before:
            row = before[-1]
            both = request_of(data, row) >= 0 and request_of(data, event) >= 0
            if not both and log.time[event] - log.time[row] <= WITHIN:
                answers[row].append(event)
    made = []
    for row in shown:
        earlier = [other for other in shown if other < row and same(other, row)]
        again = bool(earlier) and log.time[earlier[-1]] == log.time[row]
        grade = max((GRADES[name[event]] for event in answers[row]), default=0.0)
        made.append((row, grade, min(answers[row], default=-1), again))
    return made


@settings(max_examples=300)
@given(logs(), st.data())
def test_the_join_is_the_plain_loop(data: Dataset, draw: st.DataObject) -> None:
    """On any part of the log."""
    start = draw.draw(st.integers(0, len(data.log)))
    stop = draw.draw(st.integers(start, len(data.log)))
    shown, _, grades = codes(data)
    found = join(data.log, shown, grades, WITHIN, start, stop)
    assert list(zip(*(column.tolist() for column in found), strict=True)) == slow_join(data, start, stop)


def test_by_hand() -> None:
    """One rule per line."""
    rows: list[tuple[int, int, int, int, int | None]] = [
        (0, 0, 0, 1, None),  # a click before the impression, in the same second: answers nothing
        (0, 0, 0, 0, None),  # answered by the click at 3
        (0, 1, 0, 0, None),  # another item: not answered
        (0, 0, 3, 1, None),
        (0, 0, 4, 0, None),  # the pair's next impression: answered by the purchase at 9, just within
        (0, 0, 9, 2, None),
        (1, 0, 10, 0, None),  # answered too late
        (1, 0, 16, 1, None),
        (1, 1, 20, 0, None),  # logged twice: the click answers the later one
        (1, 1, 20, 0, None),
        (1, 1, 20, 1, None),
    ]
    data = data_of(rows)
    shown, _, grades = codes(data)
    found = join(data.log, shown, grades, WITHIN)
    assert found.grade.tolist()[1:] == [1.0, 0.0, 3.0, 0.0, 0.0, 1.0]
    assert found.again.tolist()[1:] == [False] * 5 + [True]


def slow_requests(data: Dataset, split: Split, training: bool) -> list[dict[str, Any]]:
    """Requests from the definition."""
    log = data.log
    groups: dict[tuple[int, int, int], list[tuple[int, float, int]]] = {}
    for row, grade, first, again in slow_join(data, split.start, split.stop if training else len(log)):
        if row >= split.stop or again:
            continue
        request = request_of(data, row)
        key = (int(log.user[row]), 0 if request >= 0 else 1, request if request >= 0 else int(log.time[row]))
        groups.setdefault(key, []).append((row, grade, row if first < 0 else min(row, first)))
    made = []
    for (user, _, _), members in sorted(groups.items(), key=lambda entry: min(at for *_, at in entry[1])):
        items: dict[int, float] = {}
        places: dict[int, int] = {}
        for row, grade, _ in members:
            item = int(log.item[row])
            items[item] = max(items.get(item, 0.0), grade)
            places.setdefault(item, int(log.columns["position"][row]) if "position" in log.columns else -1)
        row = members[0][0]
        at = min(at for *_, at in members)
        made.append({"user": user, "row": row, "at": at, "time": int(log.time[row]), "items": items, "places": places})
    return made


def plain(found: Requests) -> list[dict[str, Any]]:
    """Requests in the shape of `slow_requests`."""
    made = []
    assert found.shown is not None
    for i in range(len(found)):
        own = slice(found.shown.offsets[i], found.shown.offsets[i + 1])
        targets = slice(found.offsets[i], found.offsets[i + 1])
        grades = dict(zip(found.items[targets].tolist(), found.grades[targets].tolist(), strict=True))
        items = found.shown.items[own].tolist()
        assert len(set(items)) == len(items)
        assert set(grades) <= set(items)
        place = [-1] * len(items) if found.shown.position is None else found.shown.position[own].tolist()
        assert found.position[i] <= found.event[i]
        made.append(
            {
                "user": int(found.user[i]), "row": int(found.event[i]), "at": int(found.position[i]), "time": int(found.time[i]),
                "items": {item: grades.get(item, 0.0) for item in items}, "places": dict(zip(items, place, strict=True)),
            }
        )  # fmt: skip
    return made


@settings(max_examples=300)
@given(logs(), st.booleans(), st.data())
def test_requests_are_the_plain_loop(data: Dataset, training: bool, draw: st.DataObject) -> None:
    """Candidates in the order of the log; the requests without an answer are there, too."""
    start = draw.draw(st.integers(0, len(data.log)))
    stop = draw.draw(st.integers(start, len(data.log)))
    split = Split(0, start, stop)
    shown, _, grades = codes(data)
    found = requests(data, split, shown, grades, WITHIN, training=training)
    expected = slow_requests(data, split, training)
    assert plain(found) == expected
    assert [list(request["items"]) for request in plain(found)] == [list(request["items"]) for request in expected]
    take = np.array(draw.draw(st.permutations(range(len(found)))), dtype=np.int64)
    assert plain(found.take(take)) == [expected[i] for i in take]


@settings(max_examples=100)
@given(logs(), st.integers(1, 12), st.integers(0, 3))
def test_a_draw_is_of_whole_users(data: Dataset, most: int, seed: int) -> None:
    """No more requests than asked for, as many as whole users make, and no user torn apart unless he alone is too many."""
    shown, _, grades = codes(data)
    split = Split(0, 4, len(data.log))
    every = plain(requests(data, split, shown, grades, WITHIN))
    drawn = plain(requests(data, split, shown, grades, WITHIN, most=most, seed=seed))
    assert all(request in every for request in drawn)
    assert len(drawn) <= most
    assert len(drawn) == len(every) or len(drawn) > 0
    users = {request["user"] for request in drawn}
    whole = [request for request in every if request["user"] in users]
    assert drawn == whole or (len(users) == 1 and len(drawn) == most)
    few = plain(requests(data, split, shown, grades, WITHIN, users=2, seed=seed))
    assert len({request["user"] for request in few}) == min(2, len({request["user"] for request in every}))
    held = np.zeros(len(data.catalogue.users), dtype=bool)
    held[:2] = True
    free = plain(requests(data, split, shown, grades, WITHIN, held=held, training=True))
    assert all(not held[request["user"]] for request in free)


def test_answers_after_a_label_window_are_unknown() -> None:
    """And those of a test are counted."""
    data = data_of([(0, 0, 0, 0, None), (0, 0, 3, 1, None)])
    shown, _, grades = codes(data)
    split = Split(0, 4, 5)
    assert len(requests(data, split, shown, grades, WITHIN, training=True).items) == 0
    assert len(requests(data, split, shown, grades, WITHIN).items) == 1


@settings(max_examples=100)
@given(logs(), st.data())
def test_rates_are_the_plain_loop(data: Dataset, draw: st.DataObject) -> None:
    """Answered impressions over impressions, of what was there before."""
    log = data.log
    shown, _, grades = codes(data)
    asked = st.tuples(st.integers(0, len(log)), st.integers(0, len(data.catalogue.items) - 1))
    rows = sorted(draw.draw(st.lists(asked, max_size=12)))
    found = join(log, shown, grades, WITHIN)
    got = rates(log, found, np.array([r for r, _ in rows], np.int64), np.array([i for _, i in rows], np.int32), 2.0)
    for (row, item), rate in zip(rows, got.tolist(), strict=True):
        every = slow_join(data, 0, len(log))
        own = [entry for entry in every if log.item[entry[0]] == item]
        # By its id, an answer may stand before its impression: it counts from where it stands.
        hits, own_hits = (sum(0 <= first < row for _, _, first, _ in part) for part in (every, own))
        overall = (hits + 1) / (sum(e < row for e, *_ in every) + 2)
        expected = (own_hits + 2 * overall) / (sum(e < row for e, *_ in own) + 2)
        assert rate == pytest.approx(expected, rel=1e-12)
