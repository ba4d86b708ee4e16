"""The made-up worlds: the same every time, true to their truth, and such that taste and recency both pay."""

import itertools
import math
from collections import Counter

import numpy as np
import polars as pl
import pytest

from shortlist.core.batch import Array
from shortlist.data.check import violations, warnings
from shortlist.data.dataset import encode
from shortlist.data.synthetic import (
    AGES,
    BASE,
    COUNTRIES,
    DAY,
    DEVICES,
    FADE,
    FOREVER,
    FRESH,
    SIZE,
    SLATE,
    START,
    WANT,
    World,
    examination,
    toy,
    withheld,
    world,
)


@pytest.fixture(scope="module")
def small() -> World:
    return world(seed=3, users=400, items=200, days=10)


def columns(shop: World) -> dict[str, Array]:
    """Impressions as codes, with whether they were clicked."""
    events = shop.tables.events
    shown = events.filter(pl.col("event") == "impression")
    clicks = events.filter(pl.col("event") == "click").select("request_id", "item_id", clicked=True)
    joined = shown.join(clicks, on=["request_id", "item_id"], how="left", maintain_order="left")
    return {
        "user": joined["user_id"].str.slice(1).cast(pl.Int64).to_numpy(),
        "item": joined["item_id"].str.slice(1).cast(pl.Int64).to_numpy(),
        "time": joined["time"].to_numpy(),
        "position": joined["position"].to_numpy(),
        "request": joined["request_id"].to_numpy(),
        "clicked": joined["clicked"].fill_null(value=False).to_numpy(),
    }


def test_the_same_seed_gives_the_same_world(small: World) -> None:
    again = world(seed=3, users=400, items=200, days=10)
    for title, table in small.tables.parts().items():
        assert table.equals(again.tables.parts()[title])
    other = world(seed=4, users=400, items=200, days=10)
    assert encode(small.tables).fingerprint == encode(again.tables).fingerprint != encode(other.tables).fingerprint


def test_the_tables_are_good(small: World) -> None:
    assert violations(small.tables) == []
    assert [w for w in warnings(small.tables) if w.rule == "exact duplicate"] == []
    kinds = Counter(small.tables.events["event"].to_list())
    assert kinds["impression"] > kinds["click"] > kinds["cart"] > kinds["purchase"] > 20
    assert small.tables.events["time"].is_sorted()
    assert set(small.tables.events["device"].unique()) == set(DEVICES)
    items, users = encode(small.tables).catalogue.items, encode(small.tables).catalogue.users
    assert {name: column.kind for name, column in items.columns.items()} == {
        "available_from": "moment",
        "available_until": "moment",
        "category": "category",
        "tags": "tags",
        "title": "category",
        "price": "number",
    }
    assert small.tables.users is not None
    assert set(small.tables.users["age_group"]) == set(AGES)
    assert set(small.tables.users["country"]) == set(COUNTRIES)
    assert list(users.columns) == ["age_group", "country"]


def test_slates(small: World) -> None:
    shown = columns(small)
    truth = small.truth
    assert truth.available(shown["item"], shown["time"]).all()
    assert (shown["position"] < SLATE).all()
    slots = np.stack([shown["request"], shown["position"]])
    assert np.unique(slots, axis=1).shape == slots.shape
    pairs = np.stack([shown["request"], shown["item"]])
    assert np.unique(pairs, axis=1).shape == pairs.shape
    assert (np.diff(truth.available_from) >= 0).all()  # codes are in order of arrival


def test_what_follows_an_impression(small: World) -> None:
    """A click needs its impression, a cart its click, a purchase its cart; each comes later than what it needs."""
    events = small.tables.events
    chain = ("impression", "click", "cart", "purchase")
    for before, after in itertools.pairwise(chain):
        first = events.filter(pl.col("event") == before).select("request_id", "item_id", "user_id", earlier="time")
        second = events.filter(pl.col("event") == after)
        joined = second.join(first, on=["request_id", "item_id", "user_id"], how="inner")
        assert len(joined) == len(second)
        assert (joined["earlier"] < joined["time"]).all()
    bought = events.filter(pl.col("event") == "purchase")
    assert small.tables.items is not None
    priced = bought.join(small.tables.items, on="item_id")
    assert (priced["value"] == priced["price"]).all()


def test_the_truth_is_its_definition(small: World) -> None:
    truth = small.truth
    draw = np.random.default_rng(0)
    users, items = draw.integers(400, size=50), draw.integers(200, size=50)
    times = START + draw.integers(-DAY, 12 * DAY, size=50)
    got = truth.probability(users, items, times)
    for n, (u, i, t) in enumerate(zip(users.tolist(), items.tolist(), times.tolist(), strict=True)):
        if not truth.available_from[i] <= t < truth.available_until[i]:
            assert got[n] == 0
            continue
        late = min(max((t - START) / (10 * DAY), 0), 1)
        want = sum(
            (truth.early[u, k] * (1 - late) + truth.late[u, k] * late) * truth.vectors[i, k] for k in range(SIZE)
        )
        fresh = math.exp(-(t - truth.available_from[i]) / FADE)
        kind = truth.category[i]
        local = truth.by_country[truth.country[u], kind] + truth.by_part[t % DAY // (DAY // 4), kind]
        logit = BASE + WANT * want + FRESH * fresh + truth.quality[i] + local
        assert got[n] == pytest.approx(1 / (1 + math.exp(-logit)), rel=1e-12)
    assert (got == 0).any()
    assert (got > 0).any()
    # One at a time gives the same bits.
    assert [float(truth.probability(users[n], items[n], times[n])) for n in range(50)] == got.tolist()


def test_clicks_happen_as_often_as_the_truth_says(small: World) -> None:
    shown = columns(small)
    chance = small.truth.probability(shown["user"], shown["item"], shown["time"]) * examination(shown["position"])
    for rows in (
        shown["position"] == 0,
        shown["position"] >= 4,
        chance > np.median(chance),
        chance <= np.median(chance),
    ):
        expected = chance[rows].sum()
        spread = math.sqrt((chance[rows] * (1 - chance[rows])).sum())
        assert abs(shown["clicked"][rows].sum() - expected) < 4 * spread


def test_best_is_what_a_full_sort_gives(small: World) -> None:
    time = START + 5 * DAY
    chance = small.truth.probability(np.array(7), np.arange(200), np.array(time))
    want = sorted(range(200), key=lambda item: (-chance[item], item))[:12]
    assert small.truth.best(7, time, 12).tolist() == want


def test_taste_and_freshness_both_pay(small: World) -> None:
    """What is clicked is nearer to the taste and fresher than what is merely shown."""
    shown, truth = columns(small), small.truth
    age = shown["time"] - truth.available_from[shown["item"]]
    fresh = np.exp(-age / FADE)
    want = (truth.early[shown["user"]] * truth.vectors[shown["item"]]).sum(axis=1)
    clicked = shown["clicked"]
    assert want[clicked].mean() > want[~clicked].mean() + 0.15
    assert fresh[clicked].mean() > fresh[~clicked].mean() * 1.2


def test_life_cycles(small: World) -> None:
    truth = small.truth
    assert 0.3 < (truth.available_until == FOREVER).mean() < 0.7
    assert (truth.available_from < START).sum() == 100
    assert (truth.available_until > truth.available_from).all()


def test_tastes_drift(small: World) -> None:
    moved = (small.truth.early * small.truth.late).sum(axis=1)
    assert moved.min() < 0.5
    assert np.median(moved) < 0.98
    np.testing.assert_allclose((small.truth.late**2).sum(axis=1), 1)


def test_the_default_world() -> None:
    tables = world().tables
    assert 200_000 < len(tables.events) < 400_000
    assert tables.users is not None
    assert tables.items is not None
    assert (len(tables.users), len(tables.items)) == (2000, 600)


@pytest.mark.parametrize(("size", "copies"), [(3, 1), (8, 4)])
def test_the_toy(size: int, copies: int) -> None:
    tables = toy(size, copies)
    assert violations(tables) == []
    assert warnings(tables) == []
    seen: dict[str, list[str]] = {}
    for user, item in tables.events.select("user_id", "item_id").rows():
        seen.setdefault(user, []).append(item)
    assert len(seen) == 2 * size * copies
    for user, items in seen.items():
        group = [f"{user[0].upper()}{i}" for i in range(size)]
        assert sorted([*items, withheld(user)]) == sorted(group)
        # The clicks go round: after the last one comes the withheld item.
        assert (int(items[-1][1:]) + 1) % size == int(withheld(user)[1:])
    assert set(Counter(tables.events["item_id"].to_list()).values()) == {(size - 1) * copies}
    assert tables.events["time"].is_sorted()
