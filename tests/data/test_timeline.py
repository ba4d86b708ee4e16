"""The timeline against plain loops, and every way to cut that cannot be meant."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.core.component import check, parameters
from shortlist.core.errors import ConfigError
from shortlist.core.units import iso
from shortlist.data.dataset import Dataset, from_frames
from shortlist.data.timeline import Requests, Split, Timeline

few = settings(max_examples=30)

DAY = 86_400
FIRST = 1_700_006_400  # midnight
CLICK, BUY = 0, 1
T = FIRST + 8 * DAY


def data_of(rows: list[tuple[int, int, int, int]], requests: bool = False) -> Dataset:
    """Events (user, item, time after FIRST, kind); ids that sort otherwise than they arrive. Two more users and items come
    first, so that both kinds are there from the start."""
    rows = [(100, 100, 0, CLICK), (101, 101, 0, BUY), *rows]
    events: dict[str, list[Any]] = {
        "user_id": [f"u{(user * 37) % 103}" for user, *_ in rows],
        "item_id": [f"i{(item * 37) % 103}" for _, item, *_ in rows],
        "time": [FIRST + time for _, _, time, _ in rows],
        "event": [("click", "buy")[kind] for *_, kind in rows],
    }
    if requests:
        events["request_id"] = [time // 3600 for _, _, time, _ in rows]
    return from_frames(events)


@st.composite
def logs(draw: st.DrawFn, days: int = 10) -> Dataset:
    """Random logs over some days, with ties."""
    event = st.tuples(
        st.integers(0, 7),
        st.integers(0, 9),
        st.integers(1, days * 96).map(lambda quarter: quarter * 900),
        st.integers(0, 1),
    )
    # At most a few at one moment: where all is one tie there is nothing to cut.
    rows = draw(st.lists(event, min_size=10, max_size=60, unique_by=lambda one: (one[2], one[0] % 2)))
    steady = [(8 + hour % 5, hour % 7, hour * 3600, hour % 2) for hour in range(6, days * 24, 6)]
    return data_of([*rows, *steady, (0, 0, days * DAY, CLICK)], requests=draw(st.booleans()))


def spans(splits: list[Split]) -> list[tuple[str, int, int, int]]:
    """What a list of splits says."""
    return [(split.name, split.cut, split.start, split.stop) for split in splits]


def before(data: Dataset, time: float) -> int:
    """How many events come before a moment, counted."""
    return sum(int(each) < time for each in data.log.time)


@few
@given(logs(), st.integers(1, 3), st.integers(7, 9), st.sampled_from([6, 12, 24, 48]))
def test_dates_and_durations(data: Dataset, cutoffs: int, day: int, hours: int) -> None:
    """Label windows of one length, back to back, that end where the test window starts."""
    test, length = FIRST + day * DAY, hours * 3600
    timeline = Timeline(test=iso(test), window=f"{hours}h", cutoffs=cutoffs)
    (splits,) = timeline.splits(data)
    expected = []
    for i in range(cutoffs):
        cut = test - (cutoffs - i) * length
        name = "validate" if i == cutoffs - 1 else f"label {i + 1}"
        expected.append((name, cut, before(data, cut), before(data, cut + length)))
    expected.append(("test", test, before(data, test), len(data.log)))
    assert spans(splits) == expected


@few
@given(logs(), st.floats(0.5, 0.95), st.floats(0.02, 0.1))
def test_shares_of_the_events(data: Dataset, test: float, window: float) -> None:
    """Quantiles: a cut falls on the moment of the event at the share, so that ties are never torn apart."""
    (splits,) = Timeline(test=test, window=window, cutoffs=2).splits(data)
    times, size = data.log.time.tolist(), len(data.log)
    assert splits[-1].cut == times[int(test * size)]
    for split in splits:
        assert split.start == before(data, split.cut)
        assert split.cut in times
    older, newer, last = splits
    step = max(1, round(window * size))
    for split, following in ((newer, last), (older, newer)):
        assert split.cut == times[following.start - step]
        assert split.stop == split.start + step <= following.start
    assert (last.stop, older.name, newer.name) == (size, "label 1", "validate")


@few
@given(logs(), st.integers(2, 3))
def test_rolling_windows(data: Dataset, windows: int) -> None:
    """Test windows of equal length, oldest first, each with its own label windows before it."""
    timeline = Timeline(test=iso(T), until=iso(T + DAY), window="1d", cutoffs=2, windows=windows)
    every = timeline.splits(data)
    assert len(every) == windows
    for i, splits in enumerate(every):
        cut = T - (windows - 1 - i) * DAY
        alone = Timeline(test=iso(cut), until=iso(cut + DAY), window="1d", cutoffs=2)
        assert spans(splits) == spans(alone.splits(data)[0])
        assert [split.cut for split in splits] == [cut - 2 * DAY, cut - DAY, cut]


@few
@given(logs())
def test_without_a_length_label_windows_are_as_long_as_the_test_window(data: Dataset) -> None:
    """As a share of the events."""
    plain = Timeline(test=0.8, cutoffs=2).splits(data)[0]
    share = (len(data.log) - plain[-1].start) / len(data.log)
    assert spans(plain) == spans(Timeline(test=0.8, window=share, cutoffs=2).splits(data)[0])


@few
@given(logs(), st.integers(1, 20))
def test_a_gap_lies_between_what_is_known_and_the_answers(data: Dataset, hours: int) -> None:
    """The prediction is made the gap before the window, and what lies in the gap before the test window is no label either."""
    *labels, test = Timeline(test=iso(T), window="1d", cutoffs=2, gap=f"{hours}h").splits(data)[0]
    asked = T - hours * 3600
    windows = [(asked - 2 * DAY, asked - DAY), (asked - DAY, asked), (T, 2**62)]
    for split, (start, stop) in zip([*labels, test], windows, strict=True):
        assert split.cut == start - hours * 3600
        assert split.start == before(data, split.cut)
        answers = range(split.start, split.stop) if split.answers is None else split.answers.tolist()
        assert list(answers) == list(range(before(data, start), before(data, stop)))
    end = Timeline(test=iso(T), window="1d", cutoffs=1, gap=f"{hours}h").at(data, T)
    assert spans(end[-1:]) == [("end", T, before(data, T), before(data, T))], (
        "now is now: all that came before is known"
    )
    assert (end[0].cut, end[0].stop) == (T - DAY - hours * 3600, before(data, T))


@few
@given(logs(), st.sampled_from([("1d", ""), ("1d", "6h"), (0.1, ""), (0.1, 0.05)]))
def test_at_knows_nothing_of_the_future(data: Dataset, lengths: tuple[Any, Any]) -> None:
    """As of a moment, the windows are the same with and without all that comes after."""
    known = data_of([])
    known = Dataset(data.name, data.catalogue, data.log.before(T), "")
    timeline = Timeline(window=lengths[0], step=lengths[1], cutoffs=2)
    splits = timeline.at(data, T)
    assert spans(splits) == spans(timeline.at(known, T))
    assert spans(splits)[-1] == ("end", T, before(data, T), before(data, T))
    for split in splits[:-1]:
        assert split.start < split.stop <= splits[-1].start
        assert split.start == before(data, split.cut)


def answers(data: Dataset, split: Split) -> list[int]:
    """Log positions of a split's answers."""
    return list(range(split.start, split.stop)) if split.answers is None else [int(row) for row in split.answers]


def listed(requests: Requests) -> dict[int, dict[int, float]]:
    """user -> item -> grade."""
    return {
        int(user): {
            int(requests.items[j]): float(requests.grades[j])
            for j in range(requests.offsets[i], requests.offsets[i + 1])
        }
        for i, user in enumerate(requests.user)
    }


@few
@given(logs(), st.booleans())
def test_requests_of_a_window(data: Dataset, graded: bool) -> None:
    """One per user with a positive event, at the cut-off; targets are distinct items with their best grade."""
    split = Timeline(test=iso(T), window="1d", cutoffs=1).splits(data)[0][-1]
    grades = {CLICK: 1.0, BUY: 3.0} if graded else {}
    requests = Timeline().requests(data, split, np.array([CLICK, BUY]), grades=grades)
    expected: dict[int, dict[int, float]] = defaultdict(dict)
    for row in answers(data, split):
        user, item, kind = (int(data.log.columns[name][row]) for name in ("user", "item", "kind"))
        expected[user][item] = max(expected[user].get(item, 0.0), grades.get(kind, 1.0))
    assert listed(requests) == expected
    assert requests.user.tolist() == sorted(expected)
    assert set(requests.time.tolist()) <= {split.cut}
    assert set(requests.position.tolist()) <= {split.start}
    assert (requests.event == -1).all()


@few
@given(logs())
def test_only_positive_events_are_targets(data: Dataset) -> None:
    split = Timeline(test=iso(T), window="1d", cutoffs=1).splits(data)[0][-1]
    requests = Timeline().requests(data, split, np.array([BUY]))
    rows = [row for row in answers(data, split) if data.log.kind[row] == BUY]
    assert set(listed(requests)) == {int(data.log.user[row]) for row in rows}
    assert len(requests.items) == len({(int(data.log.user[row]), int(data.log.item[row])) for row in rows})


@few
@given(logs())
def test_targets_of_the_first_request(data: Dataset) -> None:
    """Events of the user's first request in the window; of the first moment where requests have no ids."""
    timeline = Timeline(test=iso(T), window="1d", cutoffs=1, targets="first")
    split = timeline.splits(data)[0][-1]
    requests = timeline.requests(data, split, np.array([CLICK, BUY]))
    column = data.log.columns.get("request", data.log.time)
    first: dict[int, int] = {}
    expected: dict[int, dict[int, float]] = defaultdict(dict)
    for row in answers(data, split):
        user = int(data.log.user[row])
        if column[row] == first.setdefault(user, column[row]):
            expected[user][int(data.log.item[row])] = 1.0
    assert listed(requests) == expected


@few
@given(logs(), st.integers(0, 5))
def test_labels_next(data: Dataset, seed: int) -> None:
    """One request per user, just before one of its own positive events; the target is that event."""
    timeline = Timeline(test=iso(T), window="1d", cutoffs=1, labels="next")
    split = timeline.splits(data)[0][-1]
    requests = timeline.requests(data, split, np.array([CLICK]), seed=seed)
    rows = [row for row in answers(data, split) if data.log.kind[row] == CLICK]
    assert sorted(requests.user.tolist()) == sorted({int(data.log.user[row]) for row in rows})
    assert requests.position.tolist() == sorted(requests.position.tolist())
    for i, row in enumerate(requests.position.tolist()):
        assert row in rows
        assert requests.event[i] == row
        own = {name: int(getattr(data.log, name)[row]) for name in ("user", "time", "item")}
        assert own == {"user": requests.user[i], "time": requests.time[i], "item": requests.items[requests.offsets[i]]}
    again = timeline.requests(data, split, np.array([CLICK]), seed=seed)
    assert again.position.tolist() == requests.position.tolist()


@few
@given(logs(), st.integers(1, 7), st.integers(0, 9))
def test_users_are_drawn_from_the_sorted_ids(data: Dataset, most: int, seed: int) -> None:
    """The users are those that numpy draws from the sorted outside ids, so that others can draw the same."""
    split = Timeline(test=iso(T), window="1d", cutoffs=1).splits(data)[0][-1]
    requests = Timeline().requests(data, split, np.array([CLICK, BUY]), most=most, seed=seed)
    names = data.catalogue.users.ids.series().to_list()
    there = sorted({str(names[data.log.user[row]]) for row in answers(data, split)})
    drawn = there if len(there) <= most else np.random.default_rng(seed).choice(there, most, replace=False).tolist()
    assert {names[user] for user in requests.user} == set(drawn)


@few
@given(logs(), st.integers(1, 3))
def test_leave_one_out(data: Dataset, cutoffs: int) -> None:
    """The answer of a split is each user's i-th event from the end; it and all later ones of that user are held back."""
    splits = Timeline(split="last", cutoffs=cutoffs).splits(data)[0]
    own: dict[int, list[int]] = defaultdict(list)
    for row, user in enumerate(data.log.user.tolist()):
        own[user].append(row)
    assert [split.name for split in splits][-2:] == ["validate", "test"]
    for depth, split in zip(range(cutoffs, -1, -1), splits, strict=True):
        enough = {user: rows for user, rows in own.items() if len(rows) > cutoffs + 1}
        assert split.answers is not None
        assert split.answers.tolist() == sorted(rows[-1 - depth] for rows in enough.values())
        held = sorted(row for rows in enough.values() for row in rows[len(rows) - 1 - depth :])
        assert split.dropped is not None
        assert split.dropped.tolist() == held
        for log in (Timeline().known(data, split), Timeline().training(data, split)):
            assert log.time.tolist() == np.delete(data.log.time, held).tolist()
            assert log.item.tolist() == np.delete(data.log.item, held).tolist()
        requests = Timeline(split="last").requests(data, split, np.array([CLICK, BUY]))
        assert {int(u): int(t) for u, t in zip(requests.user, requests.time, strict=True)} == {
            user: int(data.log.time[rows[-1 - depth]]) for user, rows in enough.items()
        }


@few
@given(logs())
def test_held_out_users_are_absent_from_training_only(data: Dataset) -> None:
    """They are no users of a training frame and their events train no source; the state knows them, and they are tested."""
    timeline = Timeline(test=iso(T), window="2d", cutoffs=1, holdout=0.5)
    held = timeline.held_out(data)
    assert held is not None
    split = timeline.splits(data)[0][-1]
    out = set(np.flatnonzero(held).tolist())
    known = data.log.slice(0, split.start)
    kept = [row for row in range(len(known)) if int(known.user[row]) not in out]
    assert timeline.training(data, split).item.tolist() == known.item[kept].tolist()
    assert timeline.known(data, split).item.tolist() == known.item.tolist()
    everybody = set(timeline.requests(data, split, np.array([CLICK, BUY])).user.tolist())
    training = set(timeline.requests(data, split, np.array([CLICK, BUY]), training=True).user.tolist())
    assert training == everybody - out


def test_about_the_share_is_held_out_and_a_lot_depends_on_nobody_else() -> None:
    many = data_of([(user, 0, DAY + user, CLICK) for user in range(100)])
    few = data_of([(user, 0, DAY + user, CLICK) for user in range(0, 100, 7)])
    timeline = Timeline(holdout=0.3)
    held = timeline.held_out(many)
    assert held is not None
    assert 15 <= held.sum() <= 45
    less = timeline.held_out(few)
    assert less is not None
    lots = dict(zip(many.catalogue.users.ids.series().to_list(), held.tolist(), strict=True))
    assert [lots[name] for name in few.catalogue.users.ids.series().to_list()] == less.tolist()
    assert Timeline().held_out(many) is None


@few
@given(logs(), st.integers(1, 6))
def test_train_from(data: Dataset, day: int) -> None:
    """Sources learn from then on; the state knows all that went before."""
    timeline = Timeline(test=iso(T), window="1d", cutoffs=1, train_from=iso(FIRST + day * DAY))
    split = timeline.splits(data)[0][-1]
    rows = [row for row in range(split.start) if data.log.time[row] >= FIRST + day * DAY]
    assert timeline.training(data, split).time.tolist() == data.log.time[rows].tolist()
    assert len(timeline.known(data, split)) == split.start


SPAN = r"which span 2023-11-15T00:00:00 to 2023-11-24T23:00:00"
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"test": "2030-01-01"}, r"timeline.test: 2030-01-01T00:00:00 is outside the data, " + SPAN),
    ({"test": "2023-11-15"}, r"timeline.test: 2023-11-15T00:00:00 is outside the data"),
    ({"test": "tomorrow"}, r"not a time: 'tomorrow'"),
    ({"test": 1.5}, r"timeline.test: 1.5 is not a share of the events in \(0, 1\), nor a date"),
    ({"test": 0.0}, r"timeline.test: 0.0 is not a share"),
    ({"until": "2023-11-16"}, r"timeline.until: 2023-11-16T00:00:00 is not after timeline.test"),
    ({"until": "soon"}, r"not a time: 'soon'"),
    ({"window": "3d", "cutoffs": 4}, r"timeline.cutoffs: 4 label windows .* before the data begin at 2023-11-15"),
    ({"window": 0.5, "cutoffs": 3}, r"timeline.cutoffs: 3 label windows .* choose fewer or shorter windows"),
    ({"window": "1d", "cutoffs": 2, "train_from": "2023-11-23"}, r"before the data begin at 2023-11-23"),
    ({"window": "1"}, r"not a duration: '1'; write a number and a unit"),
    ({"window": "1d", "step": "often"}, r"not a duration: 'often'"),
    ({"split": "last", "labels": "next"}, r"timeline.labels: 'next' needs timeline.split = 'time'"),
    ({"windows": 20, "window": "1d", "until": "2023-11-24"}, r"timeline"),
]


@pytest.mark.parametrize(("options", "said"), WRONG, ids=[str(options) for options, _ in WRONG])
def test_a_cut_that_cannot_be_meant_is_one_line(options: dict[str, Any], said: str) -> None:
    data = data_of([(user, user % 7, hour * 3600, CLICK) for hour in range(1, 240) for user in (hour % 11,)])
    with pytest.raises(ConfigError, match=said) as caught:
        Timeline(**{"test": "2023-11-23", **options}).splits(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("gap", "6"),
        ("cutoffs", 0),
        ("windows", 0),
        ("labels", "later"),
        ("targets", "some"),
        ("split", "user"),
        ("holdout", 1.0),
        ("refit", "never"),
    ],
)
def test_a_bad_option_is_one_line(option: str, value: Any) -> None:
    """What a recipe checks before anything is cut."""
    field = next(field for field in parameters(Timeline) if field.name == option)
    hints = {"gap": str, "cutoffs": int, "windows": int, "holdout": float}
    with pytest.raises(ConfigError, match=f"timeline.{option}"):
        check(value, hints.get(option, str), field.metadata, f"timeline.{option}")


def test_at_before_the_data_is_one_line() -> None:
    with pytest.raises(ConfigError, match="no event before 2023-11-15T00:00:00"):
        Timeline(window="1d").at(data_of([(1, 1, DAY, CLICK)]), FIRST)
