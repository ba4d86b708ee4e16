"""Indexes by name: made from vectors, saved, and loaded again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from shortlist.core.batch import Array
from shortlist.core.errors import BundleError, ConfigError, unknown
from shortlist.index.approximate import Approximate
from shortlist.index.contract import Index, checked
from shortlist.index.exact import Exact, Int8
from shortlist.index.hnsw import Hnsw
from shortlist.index.ivf import Ivf
from shortlist.index.sharded import Sharded

KINDS: dict[str, type[Exact] | type[Approximate]] = {"exact": Exact, "int8": Int8, "ivf": Ivf, "hnsw": Hnsw}


def make(
    kind: str,
    vectors: Array,
    shards: int = 1,
    seed: int = 0,
    target: float = 0.98,
    queries: Array | None = None,
    k: int = 100,
) -> Index:
    """An index of (rows, d) vectors whose ids are their rows. kind: exact, int8, ivf or hnsw; shards: in how many parts. target,
    queries, k: for approximate ones, the recall@k on these queries (n, d) that the effort is raised for."""
    if kind not in KINDS:
        raise ConfigError(unknown("index", kind, KINDS))
    if shards < 1:
        raise ConfigError(f"shards: {shards} is out of range [1, ]")
    vectors = checked(vectors, np.shape(vectors)[1] if np.ndim(vectors) == 2 else 0, "make")
    parts: list[Index] = []
    for at in range(shards):
        part = KINDS[kind](vectors.shape[1])
        mine = vectors[at::shards]
        if isinstance(part, Approximate):
            part.seed = seed
            part.build(mine, target, queries, k)
        else:
            part.add(np.arange(len(mine)), mine)
        parts.append(part)
    return parts[0] if shards == 1 else Sharded(parts)


def save(index: Index, folder: Path) -> None:
    """Write an index, and what it is, so that `load` needs to be told nothing."""
    index.save(folder)
    kind = index.parts[0] if isinstance(index, Sharded) else index
    shards = len(index.parts) if isinstance(index, Sharded) else 1
    told = {"kind": getattr(kind, "kind", ""), "shards": shards, "d": index.d, "count": index.count}
    (folder / "index.json").write_text(json.dumps(told, indent=1), encoding="utf-8")


def load(folder: Path) -> Index:
    """What `save` wrote, memory-mapped."""
    try:
        told = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        kind, shards = KINDS[told["kind"]], int(told["shards"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{folder / 'index.json'}: not readable: {error!r}") from None
    if shards == 1:
        return kind.load(folder)
    return Sharded([kind.load(folder / f"shard_{at}") for at in range(shards)])
