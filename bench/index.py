"""How fast and how right is each index? A million vectors of 64 numbers and unequal length, one query at a time, one core, against
faiss's flat scan in the same run; then the same with half, a tenth, a hundredth and a thousandth of the ids allowed. Prints recall@k,
p50 and p99 in wall time, p50 in processor time (which a busy machine disturbs less), and ratios to the flat scan.

The vectors are topics plus noise with a falling spectrum, as learned factors have; `--hard` takes noise without a falling spectrum, on
which approximate indexes must look at more. HNSW takes minutes to build: `--kinds exact,int8,ivf,hnsw` to have it.

    python bench/index.py [--count 1000000] [--d 64] [--k 100] [--queries 200] [--kinds exact,int8,ivf] [--hard] [--saved FOLDER] [--json]

--saved keeps the indexes in a folder and maps them the next time, as a bundle does, instead of building them.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from shortlist.core.batch import Array
from shortlist.index.contract import Index
from shortlist.index.make import load, make, save
from shortlist.index.recall import overlap

SHARES = (1.0, 0.5, 0.1, 0.01, 0.001)
TOPICS = 2000


def drawn(count: int, queries: int, d: int, hard: bool) -> tuple[Array, Array]:
    """Item vectors and queries from the same topics; items have log-normal lengths."""
    draw = np.random.default_rng(0)
    spectrum = np.ones(d) if hard else (1.0 + np.arange(d)) ** -0.5
    topics = draw.normal(size=(TOPICS, d)) * spectrum

    def some(n: int) -> Array:
        found: Array = topics[draw.integers(0, TOPICS, n)] + 0.6 * draw.normal(size=(n, d)) * spectrum
        return found

    items = (some(count) * np.exp(0.4 * draw.normal(size=(count, 1)))).astype(np.float32)
    return items, some(queries).astype(np.float32)


def measured(search: Callable[[Array], Array], queries: Array, wanted: Array) -> dict[str, float]:
    """Recall, and milliseconds of each query alone."""
    search(queries[:1])
    walls, own, found = [], [], []
    for i in range(len(queries)):
        wall, used = time.perf_counter(), time.thread_time()
        found.append(search(queries[i : i + 1]))
        own.append(1000 * (time.thread_time() - used))
        walls.append(1000 * (time.perf_counter() - wall))
    return {
        "recall": overlap(np.concatenate(found), wanted),
        "p50_ms": float(np.median(walls)),
        "p99_ms": float(np.quantile(walls, 0.99)),
        "cpu_p50_ms": float(np.median(own)),
        "least_ms": float(np.min(walls)),
    }


def flat(items: Array, k: int) -> Callable[[Array | None, Array], Array] | None:
    """faiss's flat inner-product scan, filtered by its own bitmap selector; None without faiss."""
    try:
        faiss = importlib.import_module("faiss")
    except ModuleNotFoundError:
        return None
    index = faiss.IndexFlatIP(items.shape[1])
    index.add(items)
    faiss.omp_set_num_threads(1)

    def search(bits: Array | None, queries: Array) -> Array:
        chosen = None if bits is None else faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bits))
        found: Array = index.search(queries, k, params=chosen)[1]
        return found

    return search


def ids_of(index: Index, k: int, bits: Array | None, queries: Array) -> Array:
    """The ids alone."""
    return index.search(queries, k, bits)[0]


def change(index: Index, items: Array) -> dict[str, float]:
    """Milliseconds to put in one vector, and until it is found."""
    times = []
    for i in range(50):
        start = time.perf_counter()
        index.add(np.array([len(items) + i]), items[i : i + 1] * 10)
        found = index.search(items[i : i + 1], 1)[0][0, 0]
        times.append(1000 * (time.perf_counter() - start))
        assert found >= len(items)
    return {"add_and_find_p50_ms": float(np.median(times))}


def made(kind: str, items: Array, queries: Array, k: int, folder: str) -> Index:
    """The index, new, or mapped from the folder where it is there."""
    place = Path(folder) / kind if folder else None
    if place is not None and place.exists():
        return load(place)
    index = make(kind, items, queries=queries, k=k)
    if place is not None:
        save(index, place)
    return index


def run(count: int, d: int, k: int, asked: int, kinds: list[str], hard: bool, folder: str) -> dict[str, Any]:
    """Everything that is printed."""
    items, queries = drawn(count, asked + 200, d, hard)
    tuning, queries = queries[:200], queries[200:]
    draw = np.random.default_rng(1)
    allowed = {share: None if share == 1.0 else draw.random(count) < share for share in SHARES}
    cores = os.sched_getaffinity(0)
    indexes: dict[str, Index] = {}
    out: dict[str, Any] = {"count": count, "d": d, "k": k, "hard": hard, "rows": []}
    for kind in kinds:
        start = time.perf_counter()
        indexes[kind] = made(kind, items, tuning, k, folder)
        out[f"{kind}_build_s"] = time.perf_counter() - start
    truth = indexes.get("int8") or make("int8", items)
    rival = flat(items, k)
    os.sched_setaffinity(0, {min(cores)})
    for share in SHARES:
        flags = allowed[share]
        bits = None if flags is None else np.packbits(flags, bitorder="little")
        wanted, _ = truth.search(queries, k, flags)
        base = None
        if rival is not None:
            base = measured(partial(rival, bits), queries[:60], wanted[:60])
            out["rows"].append({"index": "faiss flat", "allowed": share, **base, "plan": ""})
        for kind, index in indexes.items():
            mine = measured(partial(ids_of, index, k, bits), queries, wanted)
            ratio = {} if base is None else {"of_flat": mine["p50_ms"] / base["p50_ms"]}
            out["rows"].append({"index": kind, "allowed": share, **mine, **ratio, "plan": index.plan(k, bits)})
    for kind, index in indexes.items():
        out[f"{kind}_change"] = change(index, items)
    os.sched_setaffinity(0, cores)
    return out


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--d", type=int, default=64)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--kinds", default="exact,int8,ivf")
    parser.add_argument("--hard", action="store_true")
    parser.add_argument("--saved", default="")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    kinds = options.kinds.split(",")
    result = run(options.count, options.d, options.k, options.queries, kinds, options.hard, options.saved)
    if options.json:
        print(json.dumps(result, indent=1))
        return
    print(f"{options.count} x {options.d}, k = {options.k}, one query at a time, one core; times in ms")
    heads = ("allowed", "recall", "p50", "p99", "cpu p50", "least", "of flat")
    print(f"{'index':10s} {' '.join(f'{head:>8s}' for head in heads)}  plan")
    for row in result["rows"]:
        ratio = f"{row['of_flat']:8.3f}" if "of_flat" in row else " " * 8
        print(
            f"{row['index']:10s} {row['allowed']:8.3f} {row['recall']:8.4f} {row['p50_ms']:8.3f} {row['p99_ms']:8.3f} "
            f"{row['cpu_p50_ms']:8.3f} {row['least_ms']:8.3f} {ratio}  {row['plan']}"
        )
    for kind in kinds:
        told = result[f"{kind}_change"]["add_and_find_p50_ms"]
        print(f"{kind}: built in {result[f'{kind}_build_s']:.1f} s; one vector added and found in {told:.3f} ms")


if __name__ == "__main__":
    main()
