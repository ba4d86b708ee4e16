"""Auto: what it proposes for which data, that the future has no say in it, and what its judgements are."""

from __future__ import annotations

import functools
import math
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from shortlist.core.component import build
from shortlist.core.contracts import FitContext
from shortlist.core.errors import ConfigError
from shortlist.core.rng import rng
from shortlist.core.units import seconds
from shortlist.data.dataset import Dataset, encode, from_frames
from shortlist.data.log import Log
from shortlist.data.schema import Tables
from shortlist.data.synthetic import START, world
from shortlist.feature.auto import EVENTS, FEW, LADDER, LEAST, PER_ITEM, PER_USER, Auto, Choice, ladder, telling
from shortlist.feature.rate import Rate
from shortlist.pipeline.pipeline import Pipeline
from shortlist.state.fold.decay import Decay
from shortlist.state.keys import Hashed
from shortlist.state.memory import PLACE
from shortlist.state.state import State
from tests.parity.worlds import DAY, corrupted, without

CUT = START + 8 * DAY


@functools.cache
def tables() -> Tables:
    return world(users=300, items=80, days=12).tables


def context(data: Dataset, positive: tuple[str, ...] = ("click",), named: tuple[str, ...] = ("device",)) -> FitContext:
    return FitContext(data.catalogue, positive, now=CUT, context=named, place="feature.auto")


def chosen(given: Tables | None = None, part: Auto | None = None, **options: Any) -> list[Choice]:
    """As of the cut."""
    data = encode(given or tables())
    return (part or Auto()).choose(data.log.before(CUT), context(data, **options))


def entries(choices: list[Choice]) -> dict[str, dict[str, Any]]:
    """By name."""
    return {str(choice.entry.get("name", choice.entry["type"])): choice.entry for choice in choices}


def only(*columns: str, items: pl.DataFrame | None = None, users: pl.DataFrame | None = None) -> Tables:
    """Events with some of their columns, and other tables."""
    return Tables(tables().events.select(columns), items, users)


def test_the_shop() -> None:
    """Impressions, categories, tags, texts, segments and a device: each has its family, with a reason."""
    made = chosen()
    assert all(choice.why for choice in made)
    found = entries(made)
    assert len(found) == len(made), "two of the same name"
    assert found["attributes"]["item"] == ["available_from", "available_until", "category", "price"]
    assert found["attributes"]["user"] == ["age_group", "country"]
    assert found["attributes"]["context"] == ["device"]
    assert found["counts"]["share"]
    assert found["counts_of_groups"]["by"] == ["item.tags", "item.category"], "the finest first"
    assert found["pair"]["attributes"] == ["tags", "category"]
    assert {"counts_cart", "counts_purchase"} & set(found)
    assert "counts_impression" not in found
    assert (found["rate_click"]["event"], found["rate_click"]["by"]) == (
        ["click"],
        ["item", "item.tags", "item.category"],
    )
    assert found["rate_user"]["hold"] == "30m"
    assert found["text_title"]["columns"] == ["title"]
    assert {"clock", "recency", "activity", "after", "cooccurrence", "session", "similarity"} <= set(found)
    assert not [name for name in found if name.startswith("similarity_")]


def test_what_is_not_there_is_not_proposed() -> None:
    """User, item and time alone."""
    data = encode(only("user_id", "item_id", "time"))
    found = entries(Auto().choose(data.log.before(CUT), context(data, ("interaction",), ())))
    assert list(found) == [
        "clock",
        "counts",
        "recency",
        "activity",
        "after",
        "pair",
        "cooccurrence",
        "session",
        "similarity",
    ]
    assert found["pair"]["attributes"] == []


def test_no_impressions_no_rates() -> None:
    clicks = Tables(tables().events.filter(pl.col("event") != "impression"), tables().items, tables().users)
    assert "rate" in {choice.entry["type"] for choice in chosen()}
    assert "rate" not in {choice.entry["type"] for choice in chosen(clicks)}


def test_means_where_values_differ() -> None:
    """A value of every click: of its own, none, or always the same."""
    events = tables().events
    price = pl.int_range(pl.len()).cast(pl.Float64) % 5
    for value, there in ((price, True), (pl.lit(None, pl.Float64), False), (pl.lit(1.0), False)):
        given = Tables(events.with_columns(value=value), tables().items, tables().users)
        assert ("mean" in entries(chosen(given))) == there


def test_a_kind_that_has_stopped_counts_no_more() -> None:
    """The carts end with the first day: the commonest other kind by far, and nothing that still happens."""
    events = tables().events
    old = (
        events.filter(pl.col("event") == "click")
        .head(3000)
        .with_columns(event=pl.lit("cart"), time=pl.lit(START, pl.Int64))
    )
    given = Tables(pl.concat([old, events.filter(pl.col("event") != "cart")]).sort("time"), tables().items)
    found = entries(chosen(given))
    assert "counts_purchase" in found
    assert not [name for name in found if "cart" in name]


def test_rates_of_other_kinds() -> None:
    """What is no success but follows an impression says something of the item, and the commonest of it of the user."""
    found = entries(chosen())
    others = [
        name.removeprefix("counts_") for name in found if name.startswith("counts_") and name != "counts_of_groups"
    ]
    assert len(others) == 2
    for kind in others:
        assert (found[f"rate_{kind}"]["event"], found[f"rate_{kind}"]["by"]) == ([kind], ["item"])
    own = [name for name in found if name.startswith("rate_user_")]
    assert own == [f"rate_user_{others[0]}"]
    assert (found[own[0]]["by"], found[own[0]]["hold"]) == (["user"], "30m")
    assert found["rate_people"]["by"][:4] == ["device", "device x item.tags", "device x item.category", "device x item"]


def test_vectors_have_their_similarity() -> None:
    items = tables().items
    assert items is not None
    given = Tables(
        tables().events, items.with_columns(look=pl.concat_list(pl.lit(0.5), pl.col("price"))), tables().users
    )
    assert entries(chosen(given))["similarity_look"]["vectors"] == "item.look"
    assert "similarity_look" not in entries(chosen(given, Auto(exclude=["item.look"])))


def test_without_tags() -> None:
    items = tables().items
    assert items is not None
    found = entries(chosen(Tables(tables().events, items.drop("tags", "title"), tables().users)))
    assert found["counts_of_groups"]["by"] == ["item.category"]
    assert not [name for name in found if name.startswith("text_")]


def test_context_is_what_the_recipe_names() -> None:
    """A column of the events that a request will not carry is no feature."""
    found = entries(chosen(named=()))
    assert found["attributes"]["context"] == []
    assert "device" not in str(found)


EXCLUDED = ["item.tags", "item.title", "user.country", "device"]


def test_exclude_leaves_columns_alone() -> None:
    every, some = (str(entries(chosen(part=Auto(exclude=names)))) for names in ([], EXCLUDED))
    for name in EXCLUDED:
        word = repr(name.rpartition(".")[2])
        assert word in every
        assert word not in some
        assert repr(name) not in some
    with pytest.raises(
        ConfigError,
        match=r"^feature.auto.exclude: no column 'tags'; choices: item.available_from, .*item.tags.*, device$",
    ):
        chosen(part=Auto(exclude=["tags"]))


def test_a_context_column_of_numbers_can_be_excluded() -> None:
    """It is in no vocabulary."""
    events = tables().events.with_columns(load=pl.lit(0.5))
    given = Tables(events, tables().items, tables().users)
    assert entries(chosen(given, named=("device", "load")))["attributes"]["context"] == ["device", "load"]
    found = entries(chosen(given, Auto(exclude=["load"]), named=("device", "load")))
    assert found["attributes"]["context"] == ["device"]


def test_families_restrict_the_choice() -> None:
    every = chosen()
    some = chosen(part=Auto(families=["counts", "clock"]))
    assert some == [choice for choice in every if choice.entry["type"] in ("counts", "clock")]
    assert len(some) > 3
    with pytest.raises(
        ConfigError,
        match=r"^feature.auto.families: 'mean' is not proposed for these data; choices: attributes, clock, counts",
    ):
        chosen(part=Auto(families=["counts", "mean"]))


def test_half_lives_of_ones_own() -> None:
    found = entries(chosen(part=Auto(half_life=["1h", "2d", "9d"])))
    assert found["counts"]["half_life"] == ["1h", "2d", "9d"]
    assert found["activity"]["half_life"] == ["2d", "9d"], "the second shortest and the longest"


def test_breadth_bounds_what_is_looked_at() -> None:
    for breadth in (0, 1, 2):
        found = entries(chosen(part=Auto(breadth=breadth)))
        assert len(found["pair"]["attributes"]) == breadth
        assert len([name for name in found if name.startswith("counts_") and name != "counts_of_groups"]) == breadth


FUTURES = {
    "deleted": lambda given: without(given, CUT),
    "corrupted": lambda given: corrupted(given, CUT),
    "corrupted otherwise": lambda given: corrupted(given, CUT, seed=2),
}


@pytest.mark.parametrize("future", FUTURES)
@pytest.mark.parametrize("positive", ["click", "all"])
def test_the_future_has_no_say(future: str, positive: str) -> None:
    """Other events, kinds, users, items and devices after the cut: the same choice. Positive kinds are those that the data have, when
    none is named, and the future brings new ones."""
    events = tables().events.with_columns(load=pl.lit(0.5, pl.Float64))
    if positive == "all":  # one kind until the cut, others after it
        events = events.filter((pl.col("time") >= CUT) | pl.col("event").is_in(["click", "impression"]))
    given = Tables(events, tables().items, tables().users)
    made = {}
    for name, each in (("as it is", given), (future, FUTURES[future](given))):
        data = encode(each)
        kinds = tuple(str(kind) for kind in data.catalogue.kinds.series() if kind != "impression")
        made[name] = Auto().choose(data.log.before(CUT), context(data, ("click",) if positive == "click" else kinds))
    assert made[future] == made["as it is"]
    assert "rate_click" in entries(made[future])


def test_the_past_has_a_say() -> None:
    """The twin: were choices always the same, the test above would say nothing."""
    given = Tables(tables().events.with_columns(load=pl.lit(0.5)), tables().items, tables().users)
    assert chosen(corrupted(given, CUT - 6 * DAY)) != chosen(given)


# What it judges by.


def slow_information(first: list[int], second: list[int]) -> float:
    """Mutual information in nats, less its bias."""
    size = len(first)
    both, one, other = Counter(zip(first, second, strict=True)), Counter(first), Counter(second)
    gain = sum(n / size * math.log(n * size / (one[a] * other[b])) for (a, b), n in both.items())
    return gain - (len(one) - 1) * (len(other) - 1) / (2 * size)


def segments_world(size: int = 12_000) -> Dataset:
    """Items are taken by group of the user and by device, more by the former; the colour says nothing; a name is its own."""
    draw = rng(0, "segments")
    users = 200
    colour, group = np.arange(users) % 4, np.arange(users) // 4 % 3
    user, device = draw.integers(0, users, size), draw.integers(0, 2, size)
    item = np.where(
        draw.random(size) < 0.5, group[user] * 10 + draw.integers(0, 10, size),
        np.where(draw.random(size) < 0.4, device * 15 + draw.integers(0, 15, size), draw.integers(0, 30, size)),
    )  # fmt: skip
    return from_frames(
        {
            "user_id": [f"u{code}" for code in user.tolist()],
            "item_id": item,
            "time": START + 60 * np.arange(size),
            "event": ["view" if x < 0.1 else "click" for x in draw.random(size).tolist()],
            "device": [None if x < 0.2 else ("phone", "desk")[d] for x, d in zip(draw.random(size).tolist(), device.tolist(), strict=True)],
        },
        users={
            "user_id": [f"u{code}" for code in range(users)],
            "colour": [f"c{code}" for code in colour.tolist()],
            "group": [None if code % 9 == 0 else f"g{group[code]}" for code in range(users)],
            "postcode": [f"p{code // 2}" for code in range(users)],
        },
    )  # fmt: skip


def test_telling_is_mutual_information() -> None:
    """By plain loops; the most telling first, and only those that tell enough."""
    data = segments_world()
    names = ["user.colour", "user.group", "device"]
    ctx = context(data)
    clicks = [e for e in range(len(data.log)) if data.catalogue.kinds.name(int(data.log.kind[e])) == "click"]
    gains = {}
    for name in names:
        values = {
            e: int(data.catalogue.users.values(name[5:], data.log.user[e : e + 1])[0])
            if name.startswith("user.") else int(data.log.columns[name][e])
            for e in clicks
        }  # fmt: skip
        there = [e for e in clicks if values[e] >= 0]
        found = slow_information([int(data.log.item[e]) for e in there], [values[e] for e in there])
        gains[name] = found * len(there) / len(clicks)
    expected = sorted((name for name in names if gains[name] >= LEAST), key=lambda name: -gains[name])
    assert expected == ["user.group", "device"]
    assert telling(names, data.log, ctx, 9) == expected
    assert telling(names, data.log, ctx, 1) == ["user.group"]
    assert telling([], data.log, ctx, 9) == []
    assert telling(names, data.log.slice(0, 0), ctx, 9) == []


def test_telling_looks_at_the_commonest_items(monkeypatch: pytest.MonkeyPatch) -> None:
    """Items beyond the first so many are one; only the newest positive events count; a segment of too many values is left out."""
    data = segments_world()
    ctx = context(data)
    monkeypatch.setattr("shortlist.feature.auto.TOP", 12)
    monkeypatch.setattr("shortlist.feature.auto.SAMPLE", 3000)
    monkeypatch.setattr("shortlist.feature.auto.SEGMENT", 50)
    clicks = data.log.of_kinds(data.catalogue.kind_codes(["click"]))
    newest = clicks.slice(len(clicks) - 3000, len(clicks))
    counts = Counter(newest.item.tolist())
    top = sorted(counts, key=lambda item: (-counts[item], item))[:12]
    place = [top.index(item) if item in top else 12 for item in newest.item.tolist()]
    gains = []
    for name in ("group", "colour"):
        values = data.catalogue.users.values(name, newest.user).tolist()
        there = [j for j, value in enumerate(values) if value >= 0]
        found = slow_information([place[j] for j in there], [values[j] for j in there])
        gains.append(found * len(there) / len(values))
    for least in (gains[0] * 1.001, gains[0] * 0.999, gains[1] + 1e-9):
        monkeypatch.setattr("shortlist.feature.auto.LEAST", least)
        expected = ["user.group"] if least < gains[0] else []
        assert telling(["user.group", "user.colour", "user.postcode"], data.log, ctx, 9) == expected


def log_of(times: list[int]) -> tuple[Log, FitContext]:
    data = from_frames(
        {"user_id": [1] * len(times), "item_id": [1] * len(times), "time": times, "event": ["click"] * len(times)}
    )
    return data.log, context(data, named=())


@pytest.mark.parametrize("pause", [1, 20, 300, 7200, 86_400])
@pytest.mark.parametrize("count", [2, 700, 5000])
def test_the_ladder_follows_the_pace(pause: int, count: int) -> None:
    """From the first rung that holds EVENTS positive events to what the log can tell, a third of it at least; five at most."""
    rungs = ladder(*log_of([START + pause * i for i in range(count)]))
    newest = count - count // 2
    short = EVENTS * max(pause * (newest - 1), 1) / newest
    most, least = (max(pause * (count - 1) / part, 2 * short) for part in (1, 3))
    fit = [life for life in LADDER if short <= seconds(life) <= most]
    sure = [life for life in fit if seconds(life) <= least]
    if fit:
        assert rungs[0] == fit[0]
        assert set(rungs) <= set(fit)
        assert seconds(rungs[-1]) >= max((seconds(life) for life in sure), default=0.0)
    else:
        assert rungs == [min(LADDER, key=lambda life: abs(seconds(life) - short))]
    assert rungs == sorted(set(rungs), key=LADDER.index)
    assert len(rungs) == 5 if len(sure) >= 5 else 1 <= len(rungs) <= 5


def test_the_ladder_looks_at_the_newest_half() -> None:
    """Made-up times at the beginning change little; without two events there is no pace."""
    steady = [START + 100 * i for i in range(4000)]
    with_trickle = [START - 20_000_000 + 10_000 * i for i in range(100)] + steady
    assert ladder(*log_of(with_trickle))[0] == ladder(*log_of(steady))[0]
    assert ladder(*log_of([START])) == ["1d"]


@pytest.mark.parametrize("budget", [0.5, 2.0])
def test_personal_keys_are_within_a_budget(budget: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key of user and item stands where the distinct values that users have met fit into so many bytes per user."""
    data = encode(tables())
    log = data.log.before(CUT)
    tags, category = (data.catalogue.items.tags(name, log.item) for name in ("tags", "category"))
    needed = {}
    for name, (offsets, codes) in (("tags", tags), ("category", category)):
        owner = np.repeat(log.user, np.diff(offsets)).tolist()
        needed[name] = len(set(zip(owner, codes.tolist(), strict=True))) * (PLACE + 64) / len(set(log.user.tolist()))
    assert needed["tags"] > needed["category"]
    between = math.sqrt(needed["tags"] * needed["category"]) if budget < 1 else needed["tags"] * budget
    monkeypatch.setattr("shortlist.feature.auto.PER_USER", between)
    expected = ["user x item.category"] if budget < 1 else ["user x item.tags", "user x item.category"]
    assert [key for key in entries(chosen())["rate_user"]["by"] if "item." in key] == expected
    assert PER_USER < 1024


@pytest.mark.parametrize("few", [10, FEW])
def test_pairs_of_items_are_within_a_budget(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of bytes per item, as far as the state can give them back: table and aggregate of all pairs together. What comes after the first
    cut-off has no part in it, and the state keeps to it."""
    monkeypatch.setattr("shortlist.feature.auto.FEW", few)
    data = encode(tables())
    entry = entries(chosen())["after"]
    items = max(data.catalogue.items.listed, len(set(data.log.before(CUT).item.tolist())))
    each = PLACE + 1.25 * Decay(("last", "item"), half_life=tuple(entry["half_life"])).bytes()
    assert entry["keys"] == max(int(PER_ITEM * items / each), few)
    part = build("feature", {key: value for key, value in entry.items() if key != "name"})
    ctx = context(data)
    pipeline = Pipeline({}, {}, features={"after": part})
    state = State(data.catalogue, pipeline.folds(ctx), bounds=pipeline.bounds())
    state.apply(data.log.columns)
    table = state.slots()["last", "item"]
    assert isinstance(table, Hashed)
    assert table.limit == entry["keys"]
    assert (table.evicted > 0) == (few == 10)
    assert table.live <= entry["keys"]


def test_what_was_shown_may_have_another_name() -> None:
    """`[data] impression` of the recipe says which kind it is: rates are over it, and it is no kind that says something by itself."""
    renamed = tables().events.with_columns(pl.col("event").replace({"impression": "exposure"}))
    data = encode(Tables(renamed, tables().items, tables().users))
    known, ctx = data.log.before(CUT), context(data)
    assert "counts_exposure" in entries(Auto(breadth=9).choose(known, ctx))
    told = replace(ctx, impression="exposure")
    found = entries(Auto(breadth=9).choose(known, told))
    assert "counts_exposure" not in found
    fold, *_ = Rate(by=["item"], event=("click",)).folds(told)
    assert fold.kinds == ("click", "exposure")
    assert found["rate_click"]["by"] == entries(chosen(part=Auto(breadth=9)))["rate_click"]["by"]
