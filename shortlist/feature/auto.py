"""Auto: a good set of families for these data. It looks at the schema and at the log before the first cut-off, says what it
chose and why, and hands over plain families: what it chose can be written into the recipe and changed by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from shortlist.core.batch import Array
from shortlist.core.component import param
from shortlist.core.contracts import FitContext
from shortlist.core.errors import ConfigError, choices
from shortlist.core.units import seconds
from shortlist.data.catalogue import Table
from shortlist.data.log import Log
from shortlist.feature.attributes import groups, useful
from shortlist.learn.content import texts
from shortlist.state.form import Form
from shortlist.state.memory import PLACE

LADDER = ("5m", "20m", "1h", "4h", "12h", "1d", "3d", "7d", "14d", "30d", "90d", "180d", "365d")
EVENTS = 500  # that a half-life must hold over all items together: fewer are noise
RARE = 0.005  # share of the events that a kind must have
ALIVE = 0.05  # share of the log's time, the newest, in which a kind must have come
SEGMENT = 200  # values that a segment of people may have
PER_USER = 400  # bytes per user that a key of user and item may take
PER_ITEM = 300  # bytes per item that pairs of items may take
FEW = 20_000  # pairs that are kept however few items there are
LEAST = 0.002  # nats that a segment must tell about the item
SAMPLE = 300_000  # newest events that segments are judged on
TOP = 500  # items that they are judged on
OWN = ("pair", "cooccurrence", "session", "similarity", "text")  # families of the user's own history


class Choice(NamedTuple):
    """One `[[feature]]` entry of a recipe, and why it is there."""

    entry: dict[str, Any]
    why: str


class Schema(NamedTuple):
    """What the data offer, as far as `exclude` leaves it."""

    items: list[str]  # useful as they are; without their table's name
    item_keys: list[str]  # categories and lists whose values items share, the finest first
    texts: list[str]
    vectors: list[str]
    users: list[str]
    people: list[str]  # keys that tell people or places apart, the most telling first
    context: list[str]
    positive: list[str]  # positive kinds that have come so far: which others will come may not be known
    others: list[str]  # kinds of events that are neither positive nor impressions and still come, the commonest first
    shown: bool  # are there impressions?


@dataclass
class Auto:
    """Stands for the families that `choose` gives; what it stands for is settled before anything is fitted. The label windows and
    the test change nothing in the choice."""

    exclude: list[str] = param([], "columns to leave alone: item.<name>, user.<name>, or a context column")
    half_life: list[str] = param([], "half-lives of counts; chosen by the pace of the log when empty", duration=True)
    families: list[str] = param([], "only these families; all that fit the data when empty")
    breadth: int = param(
        2, "how many columns of items, segments of people and other kinds of events are looked at", low=0
    )
    last: int = param(30, "newest events of the history that are looked at", low=1)
    own: str = param(
        "live",
        "what the user himself did: live, or as of the fit (see frozen), where it is his order that counts and not who he is; or both",
        options=("live", "frozen", "both"),
    )

    def choose(self, log: Log, ctx: FitContext) -> list[Choice]:
        """log: what is known at the first cut-off. Families in the order in which they become columns."""
        schema = self._schema(log, ctx)
        lives = list(self.half_life) or ladder(log, ctx)
        chosen = [
            *_plain(schema),
            *_counts(schema, lives, max(ctx.catalogue.items.listed, int(log.item.max(initial=-1)) + 1)),
            *_rates(schema, lives, log, ctx),
            *_values(schema, log, ctx),
            *_history(schema, self.last),
        ]
        kinds = [choice.entry["type"] for choice in chosen]
        for name in self.families:
            if name not in kinds:
                raise ConfigError(
                    f"{ctx.place or 'auto'}.families: {name!r} is not proposed for these data; choices: {choices(dict.fromkeys(kinds))}"
                )
        chosen = [choice for choice in chosen if not self.families or choice.entry["type"] in self.families]
        if self.own == "live":
            return chosen
        plain, own = _apart(chosen)
        if not own:
            return chosen
        why = "what the user himself did, as of the fit: live, it orders his candidates the wrong way round"
        frozen = Choice({"type": "frozen", "name": "own", "families": own}, why)
        return [*(plain if self.own == "frozen" else chosen), frozen]

    def _schema(self, log: Log, ctx: FitContext) -> Schema:
        catalogue = ctx.catalogue
        known = [
            *(f"item.{name}" for name in catalogue.items.columns),
            *(f"user.{name}" for name in catalogue.users.columns),
            *dict.fromkeys((*catalogue.context, *ctx.context)),
        ]
        for name in self.exclude:
            if name not in known:
                raise ConfigError(f"{ctx.place or 'auto'}.exclude: no column {name!r}; choices: {choices(known)}")

        def left(title: str, names: list[str]) -> list[str]:
            return [name for name in names if f"{title}.{name}" not in self.exclude]

        counts = np.bincount(log.kind, minlength=len(catalogue.kinds))
        often = [int(code) for code in np.argsort(-counts, kind="stable") if counts[code] >= max(RARE * len(log), 1)]
        kinds = [str(catalogue.kinds.name(code)) for code in often]
        items, users = catalogue.items, catalogue.users
        context = [name for name in ctx.context if name not in self.exclude]
        segments = [f"user.{name}" for name in left("user", groups(users))] + [
            name for name in context if name in catalogue.context
        ]
        alive = np.unique(log.kind[log.position(_late(log)) :])
        others = [
            kind
            for kind in kinds
            if kind not in ctx.positive and kind != ctx.impression and catalogue.kinds.code(kind) in alive
        ]
        return Schema(
            left("item", useful(items)), left("item", shared(items))[: self.breadth], left("item", texts(items)),
            left("item", items.of_kind("vector")), left("user", useful(users)),
            telling(segments, log, ctx, self.breadth), context,
            [kind for kind in ctx.positive if counts[catalogue.kinds.code(kind)]], others[: self.breadth], ctx.impression in kinds,
        )  # fmt: skip


def _apart(chosen: list[Choice]) -> tuple[list[Choice], list[dict[str, Any]]]:
    """The choices without what the user himself did, and the entries of that: whole families of his history, and keys that begin with him."""
    plain: list[Choice] = []
    own: list[dict[str, Any]] = []
    for entry, why in chosen:
        mine = [key for key in entry.get("by", ()) if key.partition(" ")[0] == "user"]
        if entry["type"] in OWN or entry.get("segment") == ["last"] or (mine and mine == entry["by"]):
            own.append(entry)
        elif mine:
            plain.append(Choice({**entry, "by": [key for key in entry["by"] if key not in mine]}, why))
            own.append({**entry, "by": mine})
        else:
            plain.append(Choice(entry, why))
    return plain, own


def _late(log: Log) -> int:
    """When the newest ALIVE of the log's time begins: a kind without an event since then has stopped."""
    return int(log.time[-1] - ALIVE * (log.time[-1] - log.time[0])) if len(log) else 0


def telling(segments: list[str], log: Log, ctx: FitContext, most: int) -> list[str]:
    """The segments that say most about which item is taken: by the mutual information of both over the newest positive events,
    in nats, less what chance alone would give (R - 1)(C - 1) / 2N (Miller 1955); at least LEAST of it."""
    own = log.of_kinds(ctx.kinds(()))
    own = own.slice(max(len(own) - SAMPLE, 0), len(own))
    if not len(own) or not segments:
        return []
    counts = np.bincount(own.item)
    top = np.argsort(-counts, kind="stable")[:TOP]
    place = np.full(len(counts), len(top), dtype=np.int64)  # all others are one more item
    place[top] = np.arange(len(top))
    found = []
    for name in segments:
        title, _, attribute = name.partition(".")
        codes = ctx.catalogue.users.values(attribute, own.user) if attribute else own.columns[title]
        there = codes >= 0
        if there.any() and int(codes.max()) < SEGMENT:
            found.append((_information(place[own.item[there]], codes[there]) * there.mean(), name))
    return [name for gain, name in sorted(found, key=lambda entry: -entry[0])[:most] if gain >= LEAST]


def _information(first: Array, second: Array) -> float:
    width = int(second.max()) + 1
    joint = (
        np.bincount(first * width + second, minlength=(int(first.max()) + 1) * width).reshape(-1, width).astype(float)
    )
    joint /= len(first)
    rows, columns = joint.sum(axis=1), joint.sum(axis=0)
    some = joint > 0
    gain = float((joint[some] * np.log(joint[some] / np.outer(rows, columns)[some])).sum())
    return gain - (np.count_nonzero(rows) - 1) * (np.count_nonzero(columns) - 1) / (2 * len(first))


def shared(table: Table) -> list[str]:
    """Category and tags columns whose values items share, not texts, the finest first."""
    names = [
        name for name in table.of_kind("category", "tags") if 1 < _values_of(table, name) <= 0.9 * max(table.listed, 1)
    ]
    prose = texts(table)
    return sorted((name for name in names if name not in prose), key=lambda name: -_values_of(table, name))


def ladder(log: Log, ctx: FitContext, most: int = 5) -> list[str]:
    """Half-lives, evenly spread in the logarithm: the shortest holds EVENTS positive events, the longest is no longer than the log."""
    times = log.of_kinds(ctx.kinds(())).time
    if len(times) < 2:
        return ["1d"]
    # The newest half of the events: some logs begin with a trickle, or with made-up times.
    newest = times[len(times) // 2 :]
    span = max(int(newest[-1] - newest[0]), 1)
    short, long = EVENTS * span / len(newest), max(int(times[-1] - times[0]), 2 * EVENTS * span / len(newest))
    rungs = [life for life in LADDER if short <= seconds(life) <= long] or [
        min(LADDER, key=lambda life: abs(seconds(life) - short))
    ]
    if len(rungs) <= most:
        return rungs
    return [rungs[round(i * (len(rungs) - 1) / (most - 1))] for i in range(most)]


def _values_of(table: Table, name: str) -> int:
    vocabulary = table.columns[name].vocabulary
    return 0 if vocabulary is None else len(vocabulary)


def _plain(schema: Schema) -> list[Choice]:
    chosen = [Choice({"type": "clock"}, "hour and weekday of the request")]
    if schema.items or schema.users or schema.context:
        entry = {"type": "attributes", "item": schema.items, "user": schema.users, "context": schema.context}
        why = f"{len(schema.items)} item, {len(schema.users)} user and {len(schema.context)} context columns"
        chosen.insert(0, Choice(entry, why))
    return chosen


def _counts(schema: Schema, lives: list[str], items: int) -> list[Choice]:
    keys, ends = [f"item.{name}" for name in schema.item_keys], _ends(lives)
    entry: dict[str, Any]
    chosen = [
        Choice(
            {"type": "counts", "by": ["item"], "half_life": lives, "share": True},
            f"how much of everything the item is now: {', '.join(lives)} by the pace of the log",
        ),
        Choice({"type": "recency", "by": ["item", "user"], "first": True}, "age of the item, idle time of the user"),
        Choice({"type": "counts", "name": "activity", "by": ["user"], "half_life": ends}, "how active the user is"),
    ]
    if keys:
        entry = {"type": "counts", "name": "counts_of_groups", "by": keys, "half_life": ends}
        chosen.insert(1, Choice(entry, f"the same for {', '.join(keys)}"))
    for kind in schema.others:
        entry = {"type": "counts", "name": f"counts_{kind}", "by": ["item"], "event": [kind], "half_life": ends}
        chosen.append(Choice(entry, f"events of kind {kind}, which are not positive but say something"))
    if schema.people:
        entry = {"type": "conditional", "segment": schema.people, "half_life": [lives[len(lives) // 2]]}
        chosen.append(Choice(entry, "popularity among people, or in places, like this one"))
    pairs = max(PER_ITEM * items // (PLACE + 10 * len(ends)), FEW)  # 8 bytes a half-life, and the room to grow
    entry = {
        "type": "conditional",
        "name": "after",
        "segment": ["last"],
        "half_life": ends,
        "lift": False,
        "keys": pairs,
    }
    chosen.append(Choice(entry, "popularity after what the user touched last: a live Markov chain"))
    return chosen


def _ends(lives: list[str]) -> list[str]:
    """The second shortest and the longest: enough for what matters less."""
    return list(dict.fromkeys([lives[min(1, len(lives) - 1)], lives[-1]]))


def _rates(schema: Schema, lives: list[str], log: Log, ctx: FitContext) -> list[Choice]:
    if not schema.shown:
        return []
    chosen = []
    entry: dict[str, Any]
    items = [f"item.{name}" for name in schema.item_keys]
    for event in [*schema.positive[:2], *schema.others]:
        own = ["item", *items] if event in schema.positive else ["item"]
        entry = {
            "type": "rate",
            "name": f"rate_{event}",
            "event": [event],
            "by": own,
            "half_life": _ends(lives),
            "total": True,
        }
        chosen.append(Choice(entry, f"{event} per impression"))
    places = [name for name in schema.context if name in ctx.catalogue.context][: len(schema.item_keys) or 1]
    mine = {"type": "rate", "half_life": [lives[-1]], "total": True, "hold": "30m", "prior": 5.0}
    entry = {**mine, "name": "rate_user", "by": ["user", *_within_budget([*places, *items], log, ctx)]}
    why = "the user's own rate without the running visit: live, it orders his candidates the wrong way round"
    chosen.append(Choice(entry, why))
    for event in schema.others[:1]:
        entry = {**mine, "name": f"rate_user_{event}", "event": [event], "by": ["user"]}
        chosen.append(Choice(entry, f"the user's own rate of {event}, in the same way"))
    segments = list(dict.fromkeys([*places, *schema.people]))
    if segments:
        among = [
            *places,
            *(f"{name} x {key}" for name in places for key in items),
            *(f"{name} x item" for name in segments),
        ]
        entry = {"type": "rate", "name": "rate_people", "by": among, "half_life": [lives[-1]], "total": True}
        chosen.append(Choice(entry, "the item's rate among people, or in places, like this one"))
    return chosen


def _within_budget(keys: list[str], log: Log, ctx: FitContext) -> list[str]:
    """`user x key` for the keys of which the users have met so few values that they can be afforded."""
    fit = []
    for key in keys:
        form = Form(("user", key), ctx.catalogue, "auto")
        met, _ = form.keys({"user": log.user, "item": log.item}, log.columns, log.time, len(log))
        slots = len(np.unique(met[met >= 0]))
        if slots * (PLACE + 64) <= PER_USER * max(len(np.unique(log.user)), 1):
            fit.append(f"user x {key}")
    return fit


def _values(schema: Schema, log: Log, ctx: FitContext) -> list[Choice]:
    """Means of values, where the positive events' values differ."""
    own = log.of_kinds(ctx.kinds(()))
    values = own.columns["value"]
    there = values[np.isfinite(values)]
    if len(there) < len(values) // 2 or len(np.unique(there[:10_000])) < 2:
        return []
    keys = ["item", "user", *_within_budget([f"item.{name}" for name in schema.item_keys], own, ctx)]
    return [Choice({"type": "mean", "by": keys}, "values of positive events: what the item and the user usually get")]


def _history(schema: Schema, last: int) -> list[Choice]:
    short = min(last, 20)
    chosen = [
        Choice(
            {"type": "pair", "attributes": schema.item_keys, "last": last},
            "what the user did with this very item and with items like it",
        ),
        Choice({"type": "cooccurrence"}, "what goes with the user's last items, live and by the log of the fit"),
        Choice({"type": "session"}, "where in the visit the request stands"),
        Choice(
            {"type": "similarity", "vectors": "svd", "dim": 32, "last": short},
            "likeness to the history by the factors of the log",
        ),
    ]
    for name in schema.vectors:
        entry = {"type": "similarity", "name": f"similarity_{name}", "vectors": f"item.{name}", "last": short}
        chosen.append(Choice(entry, f"likeness by the given vectors {name}"))
    for name in schema.texts:
        entry = {"type": "text", "name": f"text_{name}", "columns": [name], "dim": 32, "last": short}
        chosen.append(Choice(entry, f"likeness of the texts of {name}"))
    return chosen
