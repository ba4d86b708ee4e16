"""How fast does the state fold events in, and what does each aggregate cost? One core, a news stream (globo, when the data
are there; else synthetic with the same sizes). Medians of interleaved runs, so that a slow minute hits every line.

    python bench/folds.py [--events 3000000] [--runs 5] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from shortlist.core.batch import Columns
from shortlist.core.component import build, config
from shortlist.core.contracts import Fold
from shortlist.core.rng import rng
from shortlist.data.catalogue import Catalogue, Table, category
from shortlist.data.dataset import Dataset, read
from shortlist.data.vocabulary import Vocabulary
from shortlist.experiment.features import settled
from shortlist.experiment.fit import context_of
from shortlist.pipeline.config import read as read_recipe
from shortlist.pipeline.pipeline import Pipeline
from shortlist.state.fold.count import Count
from shortlist.state.fold.decay import Decay
from shortlist.state.fold.distinct import Distinct
from shortlist.state.fold.first import First
from shortlist.state.fold.follow import Follow
from shortlist.state.fold.gap import Gap
from shortlist.state.fold.last import Last
from shortlist.state.fold.mean import Mean
from shortlist.state.fold.rate import Rate
from shortlist.state.fold.session import Session
from shortlist.state.fold.value import Value
from shortlist.state.fold.window import Window
from shortlist.state.state import State

TARGET = 3.0  # million events per second for the whole set, history included
HALF_LIVES = ("10m", "1h", "6h", "1d", "7d")


def aggregates(by_category: str) -> dict[str, Callable[[], Fold]]:
    """What a news recipe keeps, for the synthetic stream."""
    return {
        "decay item": partial(Decay, ("item",), half_life=HALF_LIVES),
        "decay category": partial(Decay, (by_category,), half_life=("1h", "1d")),
        "decay user": partial(Decay, ("user",), half_life=("1h",)),
        "count item": partial(Count, ("item",)),
        "count user": partial(Count, ("user",)),
        "last item": partial(Last, ("item",)),
        "last user": partial(Last, ("user",)),
        "window item 1h": partial(Window, ("item",), length="1h"),
    }


def others() -> dict[str, Callable[[], Fold]]:
    """One of every other kind, by the key that it is mostly used with: beside the recipe's set, not part of it."""
    return {
        "first item": partial(First, ("item",)),
        "rate item, two half-lives": partial(Rate, ("item",), half_life=("1h", "")),
        "rate user, running session out": partial(Rate, ("user",), hold="30m"),
        "rate user x hour": partial(Rate, ("user", "hour")),
        "mean item": partial(Mean, ("item",)),
        "value user": partial(Value, ("user",)),
        "gap user": partial(Gap, ("user",)),
        "session user": partial(Session, ("user",)),
        "distinct items of a user": partial(Distinct, ("user",)),
        "follow": Follow,
    }


def of_recipe(data: Dataset) -> dict[str, Callable[[], Fold]]:
    """Every aggregate that recipes/globo.toml asks for, once its `auto` has chosen."""
    recipe, _ = settled(read_recipe(Path(__file__).parents[1] / "recipes" / "globo.toml"), data)
    folds = Pipeline.of(recipe).folds(context_of(recipe, data, 0))
    return {fold.name: partial(build, "state.fold", config(fold)) for fold in folds}


def stream(size: int) -> tuple[Catalogue, Columns, dict[str, Callable[[], Fold]], str]:
    """A catalogue, at most `size` events, the aggregates to fold them into, and where they are from."""
    root = Path(os.environ.get("SHORTLIST_DATA", Path(__file__).parents[1].parent / "shared" / "data"))
    if (root / "globo").is_dir():
        data = read(f"globo:{root / 'globo'}")
        columns = data.log.slice(0, size).columns
        return data.catalogue, {name: np.array(column) for name, column in columns.items()}, of_recipe(data), "globo"
    return synthetic(size)


def synthetic(
    size: int, users: int = 320_000, items: int = 46_000
) -> tuple[Catalogue, Columns, dict[str, Callable[[], Fold]], str]:
    """As many users and items as globo, items drawn by Zipf's law."""
    draw = rng(0, "bench folds")
    catalogue = Catalogue(
        Table(
            Vocabulary(pl.Series(range(items))), {"category": category(pl.Series(draw.integers(0, 400, items)))}, items
        ),
        Table(Vocabulary(pl.Series(range(users))), {}, users),
        Vocabulary(pl.Series(["click"])),
    )
    events: Columns = {
        "user": (users * draw.random(size) ** 2).astype(np.int32),
        "item": (items * draw.random(size) ** 4).astype(np.int32),
        "time": np.sort(draw.integers(1_507_593_600, 1_508_198_400, size)),
        "kind": np.zeros(size, dtype=np.int8),
        "value": np.full(size, np.nan, dtype=np.float32),
    }
    return catalogue, events, aggregates("item.category"), "synthetic"


def seconds_of(catalogue: Catalogue, folds: list[Fold], events: Columns) -> float:
    """Processor seconds to fold the events into a fresh state: folding runs in one thread, and the clock on the wall would
    count what else the machine does."""
    state = State(catalogue, folds)
    start = time.thread_time()
    state.apply(events)
    return time.thread_time() - start


def beside(catalogue: Catalogue, events: Columns, requests: int = 200) -> float:
    """Median microseconds that live co-visitation takes for 500 candidates beside a user's five newest items."""
    fold = Follow()
    state = State(catalogue, [fold])
    state.apply(events)
    draw, spent = rng(0, "beside"), []
    for _ in range(requests):
        anchors, items = (draw.choice(events["item"], count) for count in (5, 500))
        start = time.perf_counter()
        fold.weights(anchors, np.ones(5), np.array([0, 5]), np.array([0, 500]), items, np.array([state.now]), 21_600.0)
        spent.append(time.perf_counter() - start)
    return statistics.median(spent) * 1e6


def measure(size: int, runs: int) -> dict[str, Any]:
    """Median million events per second: nothing but the history, each aggregate on top of it, and the recipe's whole set."""
    catalogue, events, made, name = stream(size)
    size = len(events["time"])
    each = {**made, **others()}
    lines: dict[str, list[Callable[[], Fold]]] = {"history": [], **{title: [make] for title, make in each.items()}}
    lines["everything"] = list(made.values())
    for makers in lines.values():  # compile first
        seconds_of(catalogue, [make() for make in makers], {key: column[:1000] for key, column in events.items()})
    spent: dict[str, list[float]] = {title: [] for title in lines}
    for _ in range(runs):
        for title, makers in lines.items():
            spent[title].append(seconds_of(catalogue, [make() for make in makers], events))
    median = {title: statistics.median(values) for title, values in spent.items()}
    history, whole = median["history"], median["everything"]
    rows = {
        title: {
            "million_events_per_second": round(size / value / 1e6, 3),
            "nanoseconds_more_than_history": round((value - history) / size * 1e9, 1),
            "share_of_everything": 0.0
            if title in others()
            else round((value if title == "history" else max(value - history, 0.0)) / whole, 3),
            "bytes_per_slot": sum(make().bytes() for make in lines[title]),
        }
        for title, value in median.items()
        if title != "everything"
    }
    speed = round(size / whole / 1e6, 3)
    return {
        "data": name, "events": size, "beside_microseconds": round(beside(catalogue, events), 1), "runs": runs, "everything": speed, "target": TARGET,
        "ratio_to_target": round(speed / TARGET, 2), "lines": rows,
    }  # fmt: skip


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=3_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = measure(given.events, given.runs)
    if given.json:
        print(json.dumps(found, indent=1))
        return
    print(f"{found['data']}: {found['events']:,} events, one core, medians of {found['runs']} interleaved runs\n")
    print(f"{'':<64} {'M events/s':>10} {'ns more':>8} {'of all':>7} {'B/slot':>7}")
    for title, row in found["lines"].items():
        print(
            f"{title:<64} {row['million_events_per_second']:>10.2f} {row['nanoseconds_more_than_history']:>8.1f} "
            f"{row['share_of_everything']:>6.0%} {row['bytes_per_slot']:>7}"
        )
    print(f"\n500 candidates beside 5 items: {found['beside_microseconds']} microseconds")
    print(
        f"everything: {found['everything']:.2f} M events/s, {found['ratio_to_target']:.2f} x the target of {TARGET:g}"
    )


if __name__ == "__main__":
    main()
