"""Factors between two fits: how much of a full rebuild is a step worth? iALS over a week of globo, asked every `--every` hours for what users
click in the hours until the next asking. Four ways to keep the factors: stale since the week began; a step at every asking; a rebuild
every midnight with steps between; a rebuild at every asking. Histories are live in all of them. Prints recall@100 and NDCG@10 (all targets, no
seen removed) with what new articles cost, the drift of the dot product of request and article (population stability index of
the 100 articles most clicked in the last three hours, against the first asking), and the processor time of the keeping.

    python bench/stepping.py [--every 12] [--days 7] [--users 500] [--window 2] [--warm 1.0] [--d 32] [--epochs 6] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from shortlist.core.batch import Array, Batch
from shortlist.core.contracts import FitContext, Pairs
from shortlist.core.rng import rng
from shortlist.core.rows import offsets_of
from shortlist.core.units import iso, moment
from shortlist.data.dataset import Dataset, encode, read
from shortlist.data.synthetic import START, world
from shortlist.experiment.drift import stability
from shortlist.experiment.replay import Replay
from shortlist.metric.interval import mean_interval
from shortlist.metric.ranking import ranking
from shortlist.retrieve.ials import Ials
from shortlist.state.state import State

HOUR, DAY = 3600, 86_400
WAYS = ("stale", "stepped", "nightly and stepped", "rebuilt")


def setting() -> tuple[Dataset, int]:
    """The data, and when the week begins."""
    folder = Path(os.environ.get("SHORTLIST_DATA", Path(__file__).parents[2] / "shared" / "data")) / "globo"
    if folder.is_dir():
        return read(f"globo:{folder}"), moment("2017-10-09")
    return encode(world(users=2000, items=1000, days=10).tables), START + 2 * DAY


def asked(data: Dataset, start: int, stop: int, most: int) -> tuple[Array, Array, Array]:
    """Users with a click before and after `start` and until `stop`: (n,), and what they click then: offsets, distinct items."""
    log = data.log
    later = log.slice(log.position(start), log.position(stop))
    users = np.intersect1d(later.user, log.before(start).user)
    users = np.sort(rng(0, "asked", start).permutation(users)[:most])
    pairs = np.unique(np.stack([later.user, later.item], axis=1)[np.isin(later.user, users)], axis=0)
    return users, offsets_of(np.bincount(np.searchsorted(users, pairs[:, 0]), minlength=len(users))), pairs[:, 1]


def keep(way: str, part: Ials, known: Callable[[int], Any], ctx: FitContext, now: int, last: int) -> Ials:
    """The factors of one way at one asking; the last one was at `last`."""
    if way == "stale":
        return part
    if way == "rebuilt" or (way.startswith("nightly") and now // DAY > last // DAY):
        made = replace(part)
        made.fit(known(now), ctx)
        return made
    return part.stepped(known(now), ctx, last)


def dots(part: Ials, batch: Batch, state: State, hot: Array) -> Array:
    """(n * hot,) products of requests and articles, NaN where either has no vector."""
    rest = part.retrieve(batch, state, 1, None).rest
    assert isinstance(rest, Pairs)
    owner, item = np.repeat(np.arange(batch.n), len(hot)), np.tile(hot.astype(np.int32), batch.n)
    return rest.of(owner, item)


def measure(first: Ials, every: int, days: int, users: int, window: int) -> dict[str, Any]:
    """All four ways over the week. first: not fitted yet."""
    data, begin = setting()
    log = data.log
    kinds = tuple(str(name) for name in data.catalogue.kinds.series())
    positive = ("click",) if "click" in kinds else kinds
    ctx = FitContext(data.catalogue, positive, now=begin)

    def known(now: int) -> Any:
        return log.slice(log.position(now - window * DAY), log.position(now))

    first.fit(known(begin), ctx)
    parts = dict.fromkeys(WAYS, first)
    spent = dict.fromkeys(WAYS, 0.0)
    values: dict[str, list[Array]] = {way: [] for way in WAYS}
    drift: dict[str, list[float]] = {way: [] for way in WAYS}
    missing: dict[str, list[float]] = {way: [] for way in WAYS}
    base: dict[str, Array] = {}
    who = []
    replay = Replay(log, State(data.catalogue, (), history=64))
    for now in range(begin, begin + days * DAY, every * HOUR):
        replay.to(log.position(now))
        chosen, offsets, items = asked(data, now, now + every * HOUR, users)
        batch = Batch.of(chosen, np.array(now))
        recent = log.slice(log.position(now - 3 * HOUR), log.position(now)).item
        hot = np.argsort(-np.bincount(recent), kind="stable")[:100]
        for way in WAYS:
            started = time.process_time()
            if now > begin:
                parts[way] = keep(way, parts[way], known, replace(ctx, now=now), now, now - every * HOUR)
            spent[way] += time.process_time() - started
            found = parts[way].retrieve(batch, replay.state, 100, None)
            counts = (found.items >= 0).sum(axis=1)
            flat = found.items[found.items >= 0]
            ten = ranking(offsets_of(counts), flat, offsets, items, 10)["ndcg"]
            hundred = ranking(offsets_of(counts), flat, offsets, items, 100)["recall"]
            values[way].append(np.stack([ten, hundred], axis=1))
            product = dots(parts[way], batch, replay.state, hot)
            there = product[np.isfinite(product)]
            base.setdefault(way, there)
            drift[way].append(stability(base[way], there) if len(there) else float("nan"))
            missing[way].append(float(np.isnan(product).mean()))
        who.append(chosen)
    people = np.concatenate(who)
    rows = {}
    rebuilt = np.concatenate(values["rebuilt"])
    for way in WAYS:
        mine = np.concatenate(values[way])
        low, high = mean_interval(mine, people)
        less_low, less_high = mean_interval(mine - rebuilt, people)
        rows[way] = {
            "ndcg@10": [*np.round([mine[:, 0].mean(), low[0], high[0]], 4)],
            "recall@100": [*np.round([mine[:, 1].mean(), low[1], high[1]], 4)],
            "recall@100 - rebuilt": [*np.round([(mine - rebuilt)[:, 1].mean(), less_low[1], less_high[1]], 4)],
            "recall@100 on the last day": round(float(np.concatenate(values[way][-(24 // every) :])[:, 1].mean()), 4),
            "drift, mean and last": [round(float(np.nanmean(drift[way][1:])), 3), round(drift[way][-1], 3)],
            "without a vector, mean and last": [round(float(np.mean(missing[way])), 3), round(missing[way][-1], 3)],
            "cpu seconds": round(spent[way], 1),
        }
    return {"from": iso(begin), "askings": len(who), "requests": len(people), "ways": rows}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=12)
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--users", type=int, default=500)
    parser.add_argument("--window", type=int, default=2)
    parser.add_argument("--warm", type=float, default=1.0)
    parser.add_argument("--d", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    first = Ials(d=given.d, epochs=given.epochs, warm=given.warm)
    made = measure(first, given.every, given.days, given.users, given.window)
    if given.json:
        print(json.dumps(made, default=float))
        return
    print(f"iALS from {made['from']}, {made['askings']} askings, {made['requests']} requests")
    for way, row in made["ways"].items():
        print(f"  {way}")
        for name, value in row.items():
            shown = value if not isinstance(value, list) else ", ".join(str(float(number)) for number in value)
            print(f"    {name:34} {shown}")


if __name__ == "__main__":
    main()
