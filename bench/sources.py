"""What does each source cost: fit, one request, and a request among many? A news stream (globo, when the data are there; else
synthetic, smaller). Medians of interleaved runs, so that a slow minute hits every line.

    python bench/sources.py [--runs 20] [--k 100] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from shortlist.core.batch import Batch
from shortlist.core.contracts import FitContext
from shortlist.data.dataset import Dataset, encode, read
from shortlist.data.synthetic import world
from shortlist.retrieve.cooccurrence import Cooccurrence
from shortlist.retrieve.ctr_top import CtrTop
from shortlist.retrieve.ease import Ease
from shortlist.retrieve.history import History
from shortlist.retrieve.ials import Ials
from shortlist.retrieve.itemknn import Itemknn
from shortlist.retrieve.popular import Popular
from shortlist.retrieve.trending import Trending
from shortlist.state.state import State

CHUNK = 256
PARTS: dict[str, Any] = {
    "popular": Popular(half_life="2h"),
    "trending": Trending(),
    "ctr_top": CtrTop(over=("click",), half_life="1d"),  # clicks stand in for impressions, which the stream has not
    "history": History(),
    "itemknn": Itemknn(),
    "cooccurrence": Cooccurrence(norm="count", half_life="12h"),
    "ease": Ease(),
    "ials": Ials(epochs=2),
}


def stream() -> Dataset:
    """Real clicks, or made-up ones."""
    folder = Path(os.environ.get("SHORTLIST_DATA", Path(__file__).parents[2] / "shared" / "data")) / "globo"
    return read(f"globo:{folder}") if folder.is_dir() else encode(world(users=4000, items=3000).tables)


def measure(runs: int, k: int) -> dict[str, dict[str, float]]:
    """Seconds of the fit; milliseconds of one request, and of one among CHUNK."""
    data = stream()
    now = int(data.log.time[-1]) + 1
    ctx = FitContext(data.catalogue, ("click",), now=now)
    state = State(data.catalogue, [fold for part in PARTS.values() for fold in part.folds(ctx)])
    state.apply(data.log.columns)
    users = np.unique(data.log.user)
    users = users[np.linspace(0, len(users) - 1, CHUNK).astype(np.int64)]
    one, many = Batch.of(users[:1], np.array(now)), Batch.of(users, np.array(now))
    out: dict[str, dict[str, float]] = {}
    for name, part in PARTS.items():
        part.fit(data.log.slice(0, 1000), ctx)  # compiles
        start = time.perf_counter()
        part.fit(data.log, ctx)
        out[name] = {"fit_s": time.perf_counter() - start}
        part.retrieve(one, state, k, None)
    taken: dict[tuple[str, int], list[float]] = {}
    for _ in range(runs):
        for name, part in PARTS.items():
            for batch in (one, many):
                start = time.perf_counter()
                part.retrieve(batch, state, k, None)
                taken.setdefault((name, batch.n), []).append((time.perf_counter() - start) / batch.n * 1e3)
    for name in PARTS:
        out[name]["one_ms"] = statistics.median(taken[name, 1])
        out[name][f"of_{CHUNK}_ms"] = statistics.median(taken[name, CHUNK])
    return out


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    measured = measure(options.runs, options.k)
    if options.json:
        print(json.dumps(measured, indent=1))
        return
    columns = list(next(iter(measured.values())))
    print(f"{'source':<14}" + "".join(f"{column:>12}" for column in columns))
    for name, line in measured.items():
        print(f"{name:<14}" + "".join(f"{line[column]:>12.3f}" for column in columns))


if __name__ == "__main__":
    main()
