"""Made-up worlds with a known truth: a shop to try everything on, and a toy with one right answer per user.

The shop (`world`): people with latent tastes that drift, items that come, are fresh for a while and go, sessions with times
of day and devices, slates of impressions in which lower positions are looked at less, and clicks that may lead to carts and
purchases. What a person clicks depends on taste *and* freshness, so neither a personal source nor a recent-popularity
source is best alone. `World.truth` knows the probability of every click.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from shortlist.core.batch import Array
from shortlist.core.rng import rng
from shortlist.core.units import SECONDS
from shortlist.data.schema import Tables

DAY = int(SECONDS["d"])
START = 1_704_067_200  # 2024-01-01 00:00 UTC
FOREVER = np.iinfo(np.int64).max
SIZE = 8  # of a taste
SLATE = 8  # impressions per request
BLOCK = 2048  # requests at a time: keeps the request x item matrix small
COUNTRIES = ("north", "south", "island")
AGES = ("18-24", "25-34", "35-49", "50+")
DEVICES = ("phone", "desktop", "tablet")
CATEGORIES = {
    "kitchen": ("kettle", "pan", "bowl"),
    "garden": ("spade", "bench", "lantern"),
    "music": ("record", "fiddle", "drum"),
    "books": ("novel", "atlas", "diary"),
    "sport": ("racket", "skis", "ball"),
    "toys": ("puzzle", "kite", "robot"),
    "clothes": ("scarf", "coat", "boots"),
    "tools": ("hammer", "saw", "ladder"),
    "travel": ("suitcase", "tent", "map"),
    "art": ("print", "easel", "frame"),
}
WORDS = (
    "red",
    "wooden",
    "small",
    "antique",
    "light",
    "sturdy",
    "blue",
    "folding",
    "modern",
    "handmade",
    "soft",
    "grand",
)
WANT, FRESH, BASE = 4.0, 2.5, -4.0  # weights of taste and freshness in the logit of a click, and its offset
FADE = 3.0 * DAY  # seconds in which freshness falls to 1/e


@dataclass(frozen=True)
class Truth:
    """What the world is made of. U users and I items, by their codes (= table rows)."""

    early: Array  # (U, SIZE) taste on the first day
    late: Array  # (U, SIZE) taste on the last day; in between, the mean weighted by time
    vectors: Array  # (I, SIZE) what an item is like; unit length
    quality: Array  # (I,) appeal to everybody
    category: Array  # (I,)
    available_from: Array  # (I,) unix seconds
    available_until: Array  # (I,) unix seconds; FOREVER where it stays
    country: Array  # (U,)
    by_country: Array  # (countries, categories): local liking, in logits
    by_part: Array  # (4, categories): liking by quarter of the day, in logits
    start: int
    days: int

    def probability(self, user: Array, item: Array, time: Array) -> Array:
        """Probability that the user clicks the item at that unix second, given that he looks at it; 0 while the item is
        not available. The arguments broadcast."""
        user, item, time = np.asarray(user), np.asarray(item), np.asarray(time)
        shape = np.broadcast_shapes(user.shape, item.shape, time.shape)
        chance = 1 / (1 + np.exp(-np.broadcast_to(self.logit(user, item, time), shape)))
        return np.where(self.available(item, time), chance, 0.0)

    def available(self, item: Array, time: Array) -> Array:
        """Is the item there at that unix second?"""
        there: Array = (time >= self.available_from[item]) & (time < self.available_until[item])
        return there

    def logit(self, user: Array, item: Array, time: Array) -> Array:
        """Log odds of a click on an item that is looked at, available or not."""
        late = np.clip((time - self.start) / (self.days * DAY), 0, 1)
        want = np.zeros(np.broadcast_shapes(user.shape, item.shape, time.shape))
        for k in range(SIZE):  # a plain sum in fixed order: the same bits whatever is asked together
            taste = self.early[user, k] * (1 - late) + self.late[user, k] * late
            want += taste * self.vectors[item, k]
        age = np.maximum(time - self.available_from[item], 0)
        part = (time % DAY) // (DAY // 4)
        local = self.by_country[self.country[user], self.category[item]] + self.by_part[part, self.category[item]]
        return np.asarray(BASE + WANT * want + FRESH * np.exp(-age / FADE) + self.quality[item] + local)

    def best(self, user: int, time: int, k: int) -> Array:
        """The k items that the user would most probably click now, best first; ties by code."""
        chance = self.probability(np.array(user), np.arange(len(self.quality)), np.array(time))
        return np.lexsort((np.arange(len(chance)), -chance))[:k]


def examination(position: Array) -> Array:
    """Probability that somebody looks at a place of the slate: 1 at the top, falling with depth."""
    return 1 / (1 + 0.3 * np.asarray(position, dtype=np.float64))


@dataclass(frozen=True)
class World:
    """Tables as a loader would give them, and what nobody but the maker knows."""

    tables: Tables
    truth: Truth


def world(seed: int = 0, users: int = 2000, items: int = 600, days: int = 30, sessions: float = 8.0) -> World:
    """A shop of `users` people and `items` items over `days` days; sessions: per person, on average. Same arguments, same
    world. The defaults give about 300,000 events in under two seconds."""
    truth = _truth(seed, users, items, days)
    user, time, device = _requests(seed, users, days, sessions)
    shown, clicked = _slates(seed, truth, user, time)
    tables = Tables(
        _events(seed, truth, user, time, device, shown, clicked),
        _item_table(seed, truth),
        _user_table(seed, truth),
        name=f"synthetic-{seed}",
        notes=("made up; the truth is known",),
    )
    return World(tables, truth)


def _unit(rows: Array) -> Array:
    # A sum over few columns, not a norm: the same bits on every machine.
    return np.asarray(rows / np.sqrt((rows * rows).sum(axis=1, keepdims=True)))


def _truth(seed: int, users: int, items: int, days: int) -> Truth:
    draw = rng(seed, "synthetic", "truth")
    kinds = len(CATEGORIES)
    centres = _unit(draw.normal(size=(kinds, SIZE)))
    category = draw.integers(kinds, size=items)
    # Half of the items are there from before the first day; the others arrive one by one. Codes are in order of arrival.
    old = items // 2
    arrival = np.concatenate(
        [-draw.exponential(40 * DAY, size=old) - DAY, draw.uniform(0, days * DAY, size=items - old)]
    )
    begin = START + np.sort(arrival).astype(np.int64)
    life = (5 * DAY + draw.exponential(20 * DAY, size=items)).astype(np.int64)
    # Who is still there on the first day starts his remaining life then.
    end = np.where(draw.random(items) < 0.5, np.maximum(begin, START) + life, FOREVER)
    early = _tastes(draw, centres, users)
    turn = draw.beta(1, 2, size=(users, 1))  # most people change a little, some wholly
    return Truth(
        early=early,
        late=_unit((1 - turn) * early + turn * _tastes(draw, centres, users)),
        vectors=_unit(centres[category] + 0.25 * draw.normal(size=(items, SIZE))),
        quality=0.5 * draw.normal(size=items),
        category=category,
        available_from=begin,
        available_until=end,
        country=draw.choice(len(COUNTRIES), size=users, p=(0.5, 0.3, 0.2)),
        by_country=0.4 * draw.normal(size=(len(COUNTRIES), kinds)),
        by_part=0.4 * draw.normal(size=(4, kinds)),
        start=START,
        days=days,
    )


def _tastes(draw: np.random.Generator, centres: Array, users: int) -> Array:
    """(users, SIZE) unit tastes: mostly one category, some of a second, and something of one's own."""
    first, second = draw.integers(len(centres), size=(2, users))
    return _unit(centres[first] + 0.5 * centres[second] + 0.2 * draw.normal(size=(users, SIZE)))


def _requests(seed: int, users: int, days: int, sessions: float) -> tuple[Array, Array, Array]:
    """user, time and device of every request, in order of time. A session is one to a few requests, a minute or two apart."""
    draw = rng(seed, "synthetic", "requests")
    activity = draw.lognormal(-0.3, 0.8, size=users)
    counts = draw.poisson(sessions * activity / activity.mean()) + 1
    owner = np.repeat(np.arange(users), counts)
    usual = draw.choice((8.0, 13.0, 20.0), size=users, p=(0.3, 0.2, 0.5))  # the hour at which a person comes
    hour = np.mod(usual[owner] + 2.5 * draw.normal(size=len(owner)), 24)
    begin = START + draw.integers(days, size=len(owner)) * DAY + (hour * 3600).astype(np.int64)
    working = (hour > 9) & (hour < 17)
    device = np.where(draw.random(len(owner)) < 0.1, 2, draw.random(len(owner)) < np.where(working, 0.6, 0.2))
    pages = 1 + draw.poisson(0.8, size=len(owner))
    page = np.arange(pages.sum()) - np.repeat(np.cumsum(pages) - pages, pages)
    time = np.repeat(begin, pages) + page * 120 + draw.integers(60, size=len(page))
    order = np.argsort(time, kind="stable")
    order = order[time[order] < START + days * DAY]
    return np.repeat(owner, pages)[order], time[order], np.repeat(device, pages).astype(np.int64)[order]


def _slates(seed: int, truth: Truth, user: Array, time: Array) -> tuple[Array, Array]:
    """(requests, SLATE) items shown, best place first (-1: none available), and which were clicked. The shop of the log
    shows what is promising, with much chance (Plackett-Luce over half the log odds): everything is shown sometimes."""
    draw = rng(seed, "synthetic", "slates")
    item = np.arange(len(truth.quality))
    shown = np.full((len(user), SLATE), -1)
    clicked = np.zeros((len(user), SLATE), dtype=bool)
    for start in range(0, len(user), BLOCK):
        rows = slice(start, start + BLOCK)
        who, when = user[rows, None], time[rows, None]
        promise = 0.5 * truth.logit(who, item[None, :], when)
        promise += draw.gumbel(size=promise.shape)
        promise[~truth.available(item[None, :], when)] = -np.inf
        top = np.argpartition(-promise, min(SLATE, len(item)) - 1, axis=1)[:, :SLATE]
        top = np.take_along_axis(top, np.argsort(-np.take_along_axis(promise, top, axis=1), axis=1), axis=1)
        chance = truth.probability(who, top, when)
        looked = draw.random(top.shape) < examination(np.arange(top.shape[1]))
        shown[rows, : top.shape[1]] = np.where(chance > 0, top, -1)
        clicked[rows, : top.shape[1]] = looked & (draw.random(top.shape) < chance)
    return shown, clicked


def _events(
    seed: int, truth: Truth, user: Array, time: Array, device: Array, shown: Array, clicked: Array
) -> pl.DataFrame:
    """Impressions with position and request, then what followed, sorted by time."""
    draw = rng(seed, "synthetic", "events")
    request, position = np.nonzero(shown >= 0)
    item = shown[request, position]
    click = clicked[request, position]
    price = _prices(seed, truth)
    # Buying is easier at a desk and harder when dear; a click that leads nowhere is the usual case.
    cart = click & (draw.random(len(item)) < 0.35 / (1 + price[item] / 80))
    purchase = cart & (draw.random(len(item)) < np.where(device[request] == 1, 0.6, 0.4))
    when = time[request]
    pause = 5 + 3 * position + draw.integers(5, size=len(item))
    pieces = []
    for kind, happened, later in (
        ("impression", np.ones(len(item), dtype=bool), 0 * pause),
        ("click", click, pause),
        ("cart", cart, pause + 20),
        ("purchase", purchase, pause + 90),
    ):
        rows = np.flatnonzero(happened)
        pieces.append(
            pl.DataFrame(
                {
                    "user_id": _names("u", user[request[rows]]),
                    "item_id": _names("i", item[rows]),
                    "time": when[rows] + later[rows],
                    "event": pl.repeat(kind, len(rows), dtype=pl.String, eager=True),
                    "value": pl.Series(
                        price[item[rows]] if kind == "purchase" else [None] * len(rows), dtype=pl.Float64
                    ),
                    "request_id": request[rows],
                    "position": position[rows],
                    "device": pl.Series(DEVICES).gather(device[request[rows]]),
                }
            )
        )
    return pl.concat(pieces).sort("time", maintain_order=True)


def _names(letter: str, codes: Array) -> pl.Series:
    return pl.Series(codes).cast(pl.String).str.pad_start(5, "0").str.replace("^", letter)


def _prices(seed: int, truth: Truth) -> Array:
    """(I,) prices: a level per category, times chance; in cents."""
    draw = rng(seed, "synthetic", "prices")
    level = draw.uniform(2.0, 4.5, size=len(CATEGORIES))
    return np.asarray(np.round(np.exp(level[truth.category] + 0.4 * draw.normal(size=len(truth.category))), 2))


def _item_table(seed: int, truth: Truth) -> pl.DataFrame:
    draw = rng(seed, "synthetic", "items")
    names, nouns = list(CATEGORIES), list(CATEGORIES.values())
    noun = draw.integers(3, size=len(truth.category))
    words = draw.integers(len(WORDS), size=(len(truth.category), 2))
    about = [[WORDS[word] for word in dict.fromkeys(pair)] for pair in words.tolist()]
    things = [nouns[kind][which] for kind, which in zip(truth.category.tolist(), noun.tolist(), strict=True)]
    until = pl.Series(truth.available_until)
    return pl.DataFrame(
        {
            "item_id": _names("i", np.arange(len(truth.category))),
            "available_from": truth.available_from,
            "available_until": until.set(until == FOREVER, None),
            "category": [names[kind] for kind in truth.category.tolist()],
            "tags": [[*adjectives, thing] for adjectives, thing in zip(about, things, strict=True)],
            "title": [" ".join([*adjectives, thing]) for adjectives, thing in zip(about, things, strict=True)],
            "price": _prices(seed, truth),
        }
    )


def _user_table(seed: int, truth: Truth) -> pl.DataFrame:
    draw = rng(seed, "synthetic", "users")
    return pl.DataFrame(
        {
            "user_id": _names("u", np.arange(len(truth.country))),
            "age_group": pl.Series(AGES).gather(draw.integers(len(AGES), size=len(truth.country))),
            "country": pl.Series(COUNTRIES).gather(truth.country),
        }
    )


def toy(size: int = 8, copies: int = 4) -> Tables:
    """Two tastes, two groups of `size` items, the diagonal withheld: user `a<i>.<c>` clicked every item of group A but `A<i>`,
    and likewise b and B. Every personal source must put the withheld item first among what the user has not clicked.

    All items are equally popular, so popularity cannot find it. Clicks go round the group and stop just before the withheld
    item, so what comes next is a right answer for sequential sources too. copies: users per withheld item.
    """
    rows = []
    for step in range(1, size):
        for i in range(size):
            for copy in range(copies):
                for taste in "ab":
                    rows.append((f"{taste}{i}.{copy}", f"{taste.upper()}{(i + step) % size}"))
    events = pl.DataFrame(rows, schema=["user_id", "item_id"], orient="row")
    events = events.with_columns(time=pl.lit(START) + 60 * pl.int_range(pl.len()), event=pl.lit("click"))
    names = [f"{group}{i}" for i in range(size) for group in "AB"]
    items = pl.DataFrame(
        {"item_id": names, "group": [name[0] for name in names], "tags": [[name[0]] for name in names]}
    )
    return Tables(events, items, name="toy")


def withheld(user_id: str) -> str:
    """The right answer for a user of the toy: `a3.1` -> `A3`."""
    return user_id.split(".")[0].upper()
