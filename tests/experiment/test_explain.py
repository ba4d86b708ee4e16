"""Explaining a value: the events that are listed, and what they add, against plain loops over the log."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from shortlist.core.errors import ConfigError
from shortlist.core.units import iso
from shortlist.data.dataset import Dataset, encode
from shortlist.data.synthetic import START
from shortlist.experiment.explain import SHOWN, explain
from shortlist.pipeline.config import Recipe, parse
from tests.parity.worlds import DAY, shop

NOW = START + 8 * DAY + 3600
BY = [
    "item",
    "item.tags",
    "user x item.category",
    "device x item",
    "last x item.category",
    "user x item.tags x hour",
    "",
]


@pytest.fixture(scope="module")
def data() -> Dataset:
    return encode(shop())


def recipe(*features: dict[str, Any], **changes: Any) -> Recipe:
    """Some families on a plain pipeline."""
    return parse(
        {
            "data": {"positive": ["click"], "context": ["device", "load"]},
            "timeline": {"test": 0.9, "cutoffs": 2},
            "source": [{"type": "popular"}],
            "feature": list(features),
            **changes,
        }
    )


COUNTS = {"type": "counts", "by": BY, "half_life": ["6h", "2d"], "window": ["1d"], "total": True, "share": True}


def keys(data: Dataset, by: str, item: int, user: int, device: int, last: int, time: int) -> list[tuple[Any, ...]]:
    """The keys of a thing, looked up by hand; none where a column is missing, several where one holds lists."""
    tags_offsets, tags = data.catalogue.items.tags("tags", np.array([item]))
    values: dict[str, list[Any]] = {
        "item": [item], "user": [user], "device": [device], "hour": [time // 3600 % 24], "last": [last],
        "item.category": [int(data.catalogue.items.column("category").values[item])],
        "item.tags": tags[: tags_offsets[1]].tolist(),
    }  # fmt: skip
    made: list[tuple[Any, ...]] = [()]
    for name in by.split(" x ") if by else []:
        made = [(*key, value) for key in made for value in values[name] if value >= 0]
    return made


def folded(data: Dataset, by: str, time: int, candidate: list[tuple[Any, ...]]) -> list[tuple[int, tuple[Any, ...]]]:
    """Log position and key of every click before a time that has a key of the candidate's."""
    log = data.log
    previous: dict[int, int] = {}
    click, impression = data.catalogue.kinds.code("click"), data.catalogue.kinds.code("impression")
    found = []
    for i in range(len(log)):
        if log.time[i] >= time:
            break
        user, item = int(log.user[i]), int(log.item[i])
        if log.kind[i] == click:
            own = keys(data, by, item, user, int(log.columns["device"][i]), previous.get(user, -1), int(log.time[i]))
            found += [(i, key) for key in own if key in candidate]
        if log.kind[i] != impression:  # what enters the histories
            previous[user] = item
    return found


def newest(data: Dataset, user: int, time: int) -> int:
    log = data.log
    impression = data.catalogue.kinds.code("impression")
    mine = [i for i in range(len(log)) if log.time[i] < time and log.user[i] == user and log.kind[i] != impression]
    return int(log.item[mine[-1]]) if mine else -1


@pytest.mark.parametrize("by", BY)
def test_decayed_counts_down_to_the_events(data: Dataset, by: str) -> None:
    """By single keys, tuples, lists, the item before and the hour."""
    some = 0
    clicks = np.flatnonzero(data.log.kind == data.catalogue.kinds.code("click"))
    for at in clicks[[200, 500, 700]].tolist():  # who clicked what, and a day later the question
        codes, time = (int(data.log.user[at]), int(data.log.item[at])), int(data.log.time[at]) + DAY
        user, item = data.catalogue.users.ids.name(codes[0]), data.catalogue.items.ids.name(codes[1])
        last = newest(data, codes[0], time)
        candidate = keys(data, by, codes[1], codes[0], data.catalogue.context["device"].code("phone"), last, time)
        events = folded(data, by, time, candidate)
        rows = sorted({i for i, _ in events})
        life = 2 * DAY
        expected = dict.fromkeys(rows, 0.0)
        for i, _ in events:
            expected[i] += 2 ** (-(time - int(data.log.time[i])) / life) / len(candidate)
        why = explain(recipe(COUNTS), data, f"positive/{by or 'all'}/2d", user, item, time, {"device": "phone"})
        assert why.total == len(rows)
        assert why.added == pytest.approx(sum(expected.values()), rel=1e-9, abs=1e-12)
        assert why.reading == pytest.approx(why.added, rel=1e-6, abs=1e-9)
        assert why.value == why.reading
        shown = rows[::-1][:SHOWN]
        assert [event["time"] for event in why.events] == [iso(int(data.log.time[i])) for i in shown]
        assert [event["adds"] for event in why.events] == pytest.approx([expected[i] for i in shown])
        assert [event["item"] for event in why.events] == data.catalogue.items.ids.names(data.log.item[shown]).to_list()
        assert {event["event"] for event in why.events} <= {"click"}
        assert list(why.key) == (by.split(" x ") if by else [])
        some += len(rows)
    assert some > 3


@pytest.mark.parametrize("horizon", ["1dw", "total"])
def test_windows_and_totals_add_up(data: Dataset, horizon: str) -> None:
    click = data.catalogue.kinds.code("click")
    newest = np.flatnonzero((data.log.kind == click) & (data.log.time < NOW))[-1]
    item = data.catalogue.items.ids.name(int(data.log.item[newest]))
    why = explain(recipe(COUNTS), data, f"positive/item/{horizon}", "u00003", item, NOW)
    assert why.value == why.reading == why.added
    assert why.value > 0
    assert {event["adds"] for event in why.events} <= {0.0, 1.0}


def test_derived_columns_tell_their_aggregate(data: Dataset) -> None:
    """A share is of a count and of everything: the count is taken apart."""
    share = explain(recipe(COUNTS), data, "positive/item/2d:share", "u00003", "i00021", NOW)
    plain = explain(recipe(COUNTS), data, "positive/item/2d", "u00003", "i00021", NOW)
    assert (share.reading, share.events, share.reads) == (plain.reading, plain.events, plain.reads)
    everything = explain(recipe(COUNTS), data, "positive/all/2d", "u00003", "i00021", NOW)
    assert share.value == pytest.approx(plain.value / everything.value)


def test_rates_show_both_sides_with_their_weight(data: Dataset) -> None:
    """The value is what the definition makes of the events, by hand."""
    rate = {"type": "rate", "by": ["item"], "half_life": ["2d"], "prior": 5.0}
    why = explain(recipe(rate), data, "positive per impression/item/2d", "u00003", "i00021", NOW)
    log, item = data.log, data.catalogue.items.ids.code("i00021")
    sums = np.zeros((2, 2))
    for i in range(data.log.position(NOW)):
        kind = data.catalogue.kinds.name(int(log.kind[i]))
        if kind in ("click", "impression"):
            weight = 2 ** (-(NOW - int(log.time[i])) / (2 * DAY))
            for own in (0, 1) if log.item[i] == item else (0,):
                sums[own, int(kind == "impression")] += weight
    base = sums[0, 0] / sums[0, 1]
    assert why.value == pytest.approx((sums[1, 0] + 5 * base) / (sums[1, 1] + 5), rel=1e-6)
    assert {event["event"] for event in why.events} <= {"click", "impression"}
    count = sum(
        log.item[i] == item and data.catalogue.kinds.name(int(log.kind[i])) in ("click", "impression")
        for i in range(why.known)
    )
    assert why.total == count > SHOWN == len(why.events)
    first = why.events[0]
    assert first["weight"] == pytest.approx(2 ** (-(NOW - moment_of(first["time"])) / (2 * DAY)))


def moment_of(text: str) -> int:
    return int(np.datetime64(text).astype("datetime64[s]").astype(np.int64))


def test_history_columns_show_what_was_looked_at(data: Dataset) -> None:
    log, code = data.log, data.catalogue.users.ids.code("u00003")
    click = data.catalogue.kinds.code("click")
    mine = [i for i in range(data.log.position(NOW)) if log.user[i] == code and log.kind[i] == click][-5:]
    assert mine
    why = explain(recipe({"type": "pair", "last": 5}), data, "pair/category/share", "u00003", "i00021", NOW)
    assert why.total == len(mine)
    assert [event["item"] for event in why.events] == data.catalogue.items.ids.names(log.item[mine[::-1]]).to_list()
    own = data.catalogue.items.column("category").values
    matches = sum(own[log.item[i]] == own[data.catalogue.items.ids.code("i00021")] for i in mine)
    assert why.value == pytest.approx(matches / len(mine))


def test_attributes_show_the_row(data: Dataset) -> None:
    why = explain(recipe({"type": "attributes", "context": ["load"]}), data, "item.category", "u00003", "i00007", NOW)
    assert (why.type, why.events, why.total) == ("category", [], 0)
    words = data.catalogue.items.column("category").vocabulary
    assert words is not None
    assert why.row["category"] == words.name(why.value)
    assert isinstance(why.row["tags"], list)
    loaded = explain(
        recipe({"type": "attributes", "context": ["load"]}),
        data,
        "context.load",
        "u00003",
        "i00007",
        NOW,
        {"load": "0.5"},
    )
    assert loaded.value == 0.5


def test_learned_families_learn_from_before(data: Dataset) -> None:
    """A pair of the fit, and live neighbours: by those who met an item of the history within reach."""
    part = {"type": "cooccurrence", "norm": ["lift"], "last": 5}
    why = explain(recipe(part), data, "cooccurrence/lift/max", "u00003", "i00021", NOW)
    assert why.reads == ""
    assert 0 < why.total <= 5
    live = explain(recipe(part), data, "cooccurrence/live/max", "u00003", "i00021", NOW)
    assert live.value > 0
    assert live.total > 0
    assert {event["item"] for event in live.events} == {"i00021"}
    assert "i00021" not in live.key["history"]


def test_forgotten_keys_are_not_listed(data: Dataset) -> None:
    """A table that holds 48 keys forgets most: what is listed is still exactly what was read."""
    chosen = recipe({"type": "counts", "by": ["user x item"], "half_life": ["2d"]}, state={"keys": 48})
    whole = recipe({"type": "counts", "by": ["user x item"], "half_life": ["2d"]})
    log, click = data.log, data.catalogue.kinds.code("click")
    before = [i for i in range(data.log.position(NOW)) if log.kind[i] == click]
    lost, kept = 0, 0
    for i in [*before[::90], *before[-3:]]:
        user, item = (
            table.ids.name(int(code))
            for table, code in ((data.catalogue.users, log.user[i]), (data.catalogue.items, log.item[i]))
        )
        why = explain(chosen, data, "positive/user x item/2d", user, item, NOW)
        assert why.reading == pytest.approx(why.added, rel=1e-6)
        everything = explain(whole, data, "positive/user x item/2d", user, item, NOW)
        assert why.total <= everything.total
        lost += why.total < everything.total
        kept += why.total > 0
    assert lost > 0
    assert kept > 0


def test_nothing_later_has_a_part_in_it(data: Dataset) -> None:
    early = int(data.log.time[data.log.position(NOW) // 2])
    why = explain(recipe(COUNTS), data, "positive/item/total", "u00003", "i00021", early)
    assert why.known == data.log.position(early) > 0
    assert all(moment_of(event["time"]) < early for event in why.events)
    nothing = explain(recipe(COUNTS), data, "positive/item/total", "u00003", "i00021", START - DAY)
    assert (nothing.value, nothing.total, nothing.known) == (0.0, 0, 0)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            ("positive/itm/2d", "u00003", "i00007"),
            r"unknown column 'positive/itm/2d'; did you mean 'positive/item/2d'\?",
        ),
        (("score_popular", "u00003", "i00007"), "is of a source, not of a feature family"),
        (("positive/item/2d", "u00003x", "i00007"), r"--user: unknown user 'u00003x'; did you mean 'u00003'\?"),
        (
            ("positive/item/2d", "u00003", "thing"),
            r"--item: unknown item 'thing'; the data have 5\d, for example 'i00000'",
        ),
    ],
)
def test_what_is_not_there_is_one_line(data: Dataset, asked: tuple[str, str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        explain(recipe(COUNTS), data, *asked, NOW)
    assert "\n" not in str(caught.value)


def test_bad_context_is_one_line(data: Dataset) -> None:
    with pytest.raises(ConfigError, match="--context: unknown context 'divice'; did you mean 'device'"):
        explain(recipe(COUNTS), data, "positive/item/2d", "u00003", "i00007", NOW, {"divice": "phone"})
    with pytest.raises(ConfigError, match="--context load=much: must be a number"):
        explain(recipe(COUNTS), data, "positive/item/2d", "u00003", "i00007", NOW, {"load": "much"})
