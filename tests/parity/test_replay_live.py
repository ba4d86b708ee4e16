"""Replay is serving, fast-forwarded: one bundle, two worlds. Live, events arrive in small batches and requests come one by one.
In the replay the whole log is encoded beforehand, so that codes of the future are known, and the state is moved forward to the
same positions, where the requests are asked many at a time. Answers and every feature are equal to the bit."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shortlist.core.batch import Array, Batch, Columns
from shortlist.core.rng import rng
from shortlist.data.dataset import encode
from shortlist.data.log import Log
from shortlist.data.synthetic import START
from shortlist.experiment.fit import fit
from shortlist.experiment.replay import Replay
from shortlist.pipeline.bundle import Bundle
from shortlist.pipeline.trace import Trace
from shortlist.serve.engine import Engine
from tests.parity.worlds import DAY, RANKERS, SOURCES, recipe, shop, without

STREAMS = (0, 1)  # two of them, so that two cores can share the work
REQUESTS = 10_000 // len(STREAMS)
EVENTS = 600
NOW = START + 7 * DAY
KINDS = ("impression", "click", "click", "cart", "purchase")
USERS = [*(f"u{i:05}" for i in range(60)), *(f"guest{i}" for i in range(40))]
ITEMS = [*(f"i{i:05}" for i in range(50)), *(f"novelty{i}" for i in range(20))]
DEVICES = ["phone", "desktop", "tablet", "watch", "car", None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with every part in it, fitted on the first days."""
    made = tmp_path_factory.mktemp("parity") / "bundle"
    data = encode(without(shop(), NOW))
    # Trees, and the second and third variant of a source: test_batch_single.
    once = list({entry["type"]: entry for entry in reversed(SOURCES)}.values())[::-1]
    chosen = recipe(timeline={"test": 0.9, "cutoffs": 2}, ranker=RANKERS[:1], source=once)
    fit(chosen, data, splits=chosen.timeline.at(data, NOW)).save(made)
    return made


def stream(seed: int = 0) -> list[dict[str, Any]]:
    """Events as a service receives them: mostly in time order, with ties, and some that come up to two days late."""
    draw = rng(seed, "stream")
    time = NOW + np.sort(draw.integers(0, DAY, EVENTS)) // 60 * 60
    late = draw.random(EVENTS) < 0.08
    time[late] -= draw.integers(0, 2 * DAY, int(late.sum()))
    events = []
    for i in range(EVENTS):
        reach = 0.4 + 0.6 * i / EVENTS  # of the lists of names: new ones keep arriving
        event: dict[str, Any] = {
            "user_id": USERS[int(draw.random() * len(USERS) * reach)],
            "item_id": ITEMS[int(draw.random() * len(ITEMS) * reach)],
            "event": KINDS[int(draw.integers(0, len(KINDS)))],
            "time": int(time[i]),
            "device": DEVICES[int(draw.random() * len(DEVICES) * reach)],
        }
        if draw.random() < 0.5:
            event["value"] = float(draw.normal())
        events.append(event)
    return events


@dataclass(frozen=True)
class Asked:
    """A request, and after how many events it is made."""

    position: int
    request: dict[str, Any]


def requests(events: list[dict[str, Any]], seed: int = 0) -> list[Asked]:
    """Random requests, in log order: of users who are known, not known yet, and never known; devices likewise."""
    draw = rng(seed, "requests")
    made: list[Asked] = []
    for position in np.sort(draw.integers(0, len(events) // 3 + 1, REQUESTS) * 3).tolist():
        now = max([NOW, *(event["time"] for event in events[:position])][-200:])
        user = draw.choice([*USERS, "stranger"]) if draw.random() < 0.95 else None
        context: dict[str, Any] = {}
        if draw.random() < 0.8:
            context["device"] = DEVICES[int(draw.integers(0, len(DEVICES)))] if draw.random() < 0.9 else "toaster"
        if draw.random() < 0.5:
            context["load"] = float(np.float32(draw.random()))
        request: dict[str, Any] = {"user_id": None if user is None else str(user), "context": context}
        if draw.random() < 0.9:
            request["time"] = int(now + draw.integers(-3600, 3600) // 600 * 600)
        made.append(Asked(position, request))
    return made


def encoded(bundle: Bundle, events: list[dict[str, Any]]) -> Log:
    """The whole log at once, by plain look-ups in order of arrival."""
    catalogue = bundle.state.catalogue
    device = catalogue.context["device"]
    columns: dict[str, list[Any]] = {name: [] for name in ("user", "item", "time", "kind", "value", "device")}
    for event in events:
        columns["user"].append(catalogue.users.add(event["user_id"]))
        columns["item"].append(catalogue.items.add(event["item_id"]))
        columns["time"].append(event["time"])
        columns["kind"].append(catalogue.kinds.code(event["event"]))
        columns["value"].append(event.get("value", np.nan))
        columns["device"].append(-1 if event["device"] is None else device.add(event["device"]))
    types: dict[str, Any] = {"time": np.int64, "kind": np.int8, "value": np.float32}
    return Log({name: np.array(values, dtype=types.get(name, np.int32)) for name, values in columns.items()})


def asked(bundle: Bundle, group: list[Asked], now: int) -> Batch:
    """Requests of one position as one batch, encoded by plain look-ups."""
    catalogue = bundle.state.catalogue
    device, load = [], []
    for each in group:
        value = each.request["context"].get("device")
        device.append(-1 if value is None else catalogue.context["device"].code(value))
        load.append(each.request["context"].get("load", np.nan))
    users = [
        -1 if each.request["user_id"] is None else catalogue.users.ids.code(each.request["user_id"]) for each in group
    ]
    times = [each.request.get("time", now) for each in group]
    columns: Columns = {"device": np.array(device, dtype=np.int32), "load": np.array(load, dtype=np.float32)}
    return Batch.of(np.array(users), np.array(times), **columns)


def unequal(one: Batch, many: Batch, i: int) -> list[str]:
    """The candidate columns of a single request that are not those of request i, to the bit."""
    rows = slice(many.offsets[i], many.offsets[i + 1])
    assert list(one.cand) == list(many.cand)
    return [name for name, column in one.cand.items() if not _same(column, many.cand[name][rows])]


def _same(one: Array, other: Array) -> bool:
    return one.dtype == other.dtype and one.tobytes() == other.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("seed", STREAMS)
def test_live_equals_replay(folder: Path, seed: int) -> None:
    """The acceptance test of the whole design: 10,000 requests, in two random logs."""
    events = stream(seed)
    log = requests(events, seed)
    engine = Engine.load(folder)
    bundle = Bundle.load(folder)
    replay = Replay(encoded(bundle, events), bundle.state)
    assert len(bundle.state.catalogue.items) > len(engine.catalogue.items), (
        "nothing of the future is known to the replay"
    )
    draw = rng(0, "pieces")
    rows, columns, tracked = 0, 0, 0
    for position, entries in itertools.groupby(log, key=lambda each: each.position):
        group = list(entries)
        while tracked < position:
            size = min(int(draw.integers(1, 6)), position - tracked)
            engine.track(events[tracked : tracked + size])
            tracked += size
        replay.to(position)
        many = Trace()
        bundle.pipeline.recommend(asked(bundle, group, engine.now()), bundle.state, 10, many)
        assert many.ranked is not None
        assert many.answer is not None
        for i, each in enumerate(group):
            request = each.request
            batch = engine.asked(request).batch
            one = Trace()
            engine.pipeline.recommend(batch, engine.state, 10, one)
            assert one.ranked is not None
            assert one.answer is not None
            assert unequal(one.ranked, many.ranked, i) == [], (position, request)
            assert unequal(one.answer, many.answer, i) == [], (position, request)
            rows += one.ranked.m
            columns = len(one.ranked.cand)
        if position % 60 == 0:
            shown = engine.recommend(group[0].request)["items"]
            own = many.answer.request(0)
            names = bundle.state.catalogue.items.ids.names(own.item).to_list()
            assert [entry["item_id"] for entry in shown] == names
            assert [entry["score"] for entry in shown] == own.cand["score"].tolist()
    assert len(log) == REQUESTS
    assert engine.state.count == bundle.state.count > EVENTS * 0.9
    assert rows > 10 * REQUESTS, "the pools are so small that little is compared"
    assert columns > 200
