"""Parity on a service's log: every served answer computed again, offline, as of the log position at which it was given."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from shortlist.core import rows
from shortlist.core.batch import Array, Batch, concat
from shortlist.core.contracts import silent
from shortlist.core.errors import BundleError
from shortlist.pipeline.bundle import Bundle
from shortlist.pipeline.trace import Trace
from shortlist.serve import entry
from shortlist.serve.digest import digests, of_names
from shortlist.serve.engine import Engine
from shortlist.serve.eventlog.codec import decode
from shortlist.serve.eventlog.contract import EventLog
from shortlist.serve.eventlog.open import open_log
from shortlist.serve.fold import PIECE
from shortlist.serve.parity import Found, Parity, own
from shortlist.serve.prune import readable

ANSWER, ROWS = "answer", "rows"  # what is compared besides the columns
FREE = {
    "log"
}  # what an answer may have done without and still be computed again: the log was away, and `after` says so


class Place(NamedTuple):
    """A served answer: the log position that it was given at, and the one where it stands."""

    after: int
    position: int


def parity_log(bundle: Path, address: str, progress: Callable[..., Iterable[Any]] = silent, most: int = 0) -> Parity:
    """Compute the answers in a service's log again. most: how many, spread evenly over the log; 0 = all. Answers of other bundles, answers
    that had to do without something, and those from before an erasure, whose events are gone, are counted and not compared."""
    loaded, log = Bundle.load(bundle), open_log(address)
    try:
        engine = Engine.of(loaded)
        base = int(log.meta(f"base.{loaded.name}") or 0)
        readable(log, base, loaded.name)
        found = Parity(loaded.name, loaded.name)
        places = _places(log, loaded.name, base, found)
        if most and len(places) > most:
            found.left_out["not asked for (--most)"] = len(places) - most
            places = [places[i] for i in np.linspace(0, len(places) - 1, most).astype(int)]
        _replay(engine, log, base, places, found, progress)
    finally:
        log.close()
    return found


def _places(log: EventLog, bundle: str, base: int, found: Parity) -> list[Place]:
    """Where the answers are that can be computed again, in the order in which they were given."""
    listed, erased, position = [], 0, base
    kinds = (entry.SERVED, entry.ERASED)
    while stored := log.read(position, PIECE, kinds):
        position = stored[-1].position
        for each in stored:
            content = decode(each)
            if isinstance(content, entry.Erased):
                erased = each.position
            elif content is None:
                _left(found, "erased")
            elif content.bundle != bundle:
                _left(found, f"of bundle {content.bundle}")
            elif set(content.degraded) - FREE:
                _left(found, "degraded")
            else:
                listed.append(Place(content.after, each.position))
    kept = [place for place in listed if place.after >= erased]
    if len(kept) < len(listed):
        found.left_out["from before an erasure"] = len(listed) - len(kept)
    return sorted(kept)


def _left(found: Parity, why: str) -> None:
    found.left_out[why] = found.left_out.get(why, 0) + 1


def _replay(
    engine: Engine,
    log: EventLog,
    base: int,
    places: Sequence[Place],
    found: Parity,
    progress: Callable[..., Iterable[Any]],
) -> None:
    """Fold the log in up to each answer's position, and ask those of one position together."""
    engine.begin(log, base)
    first = engine.state.count
    position = base
    groups = [list(group) for _, group in itertools.groupby(places, key=lambda place: place.after)]
    for group in progress(groups, "recompute", len(groups)):
        after = group[0].after
        if after < position:
            raise BundleError(f"an answer was given at log position {after}, before the bundle's own start at {base}")
        while position < after:
            stored = [each for each in log.read(position, PIECE) if each.position <= after]
            engine.fold(stored)
            position = stored[-1].position if stored else after
        served = [decode(log.read(place.position - 1, 1)[0]) for place in group]
        plain = [each for each in served if not alone(each)]
        parts = [plain[begin : begin + engine.chunk] for begin in range(0, len(plain), engine.chunk)]
        for part in (*parts, *([each] for each in served if alone(each))):
            _compare(engine, part, found)
    found.events = engine.state.count - first


def alone(served: entry.Served) -> bool:
    """Must it be computed alone, because it asks for something of its own?"""
    return served.call != "recommend" or own(served.request)


def _compare(engine: Engine, group: Sequence[entry.Served], found: Parity) -> None:
    scored, answer = _recomputed(engine, group)
    names, sums = digests(scored)
    items = engine.catalogue.items.ids
    for i, served in enumerate(group):
        start, stop = answer.offsets[i : i + 2]
        ids = items.names(answer.item[start:stop]).to_list()
        scores = answer.cand["score"][start:stop].tolist()
        size = int(scored.offsets[i + 1] - scored.offsets[i])
        found.requests += 1
        found.rows += served.rows
        _count(found, ANSWER, ids == list(served.items) and scores == served.scores, served, served.items[:3], ids[:3])
        if not served.columns:
            continue
        _count(found, ROWS, size == served.rows, served, served.rows, size)
        recorded = np.frombuffer(served.columns, dtype=np.uint64)
        if served.names != of_names(names) or len(recorded) != len(names):
            _count(found, "names of columns", False, served, len(recorded), len(names))
            continue
        for name, one, other in zip(names, recorded.tolist(), sums[:, i].tolist(), strict=True):
            _count(found, name, one == other, served, f"digest {one:016x}", f"digest {other:016x}")


def _recomputed(engine: Engine, group: Sequence[entry.Served]) -> tuple[Batch, Batch]:
    """What the ranker scores for these answers' requests now, and the answers."""
    trace = Trace(whole=False)
    if len(group) == 1:
        answer = engine.again(group[0].call, group[0].request, trace)
    else:
        asked = [
            engine.asked({key: value for key, value in served.request.items() if value is not None}) for served in group
        ]
        k: Array = np.array([each.k for each in asked])
        batch = concat([each.batch for each in asked])
        answer = engine.pipeline.recommend(batch, engine.state, int(k.max()), trace, asked[0].ban())
        answer = answer.keep(rows.run_place(answer.offsets) < answer.spread(k))
    assert trace.scored is not None
    return trace.scored, answer


def _count(found: Parity, name: str, same: bool, served: entry.Served, recorded: Any, recomputed: Any) -> None:
    """Add one comparison."""
    entry_ = found.columns.setdefault(name, Found())
    entry_.rows += served.rows if name not in (ANSWER, ROWS) else 1
    if not same:
        entry_.mismatches += 1
        if entry_.example is None:
            entry_.example = {"request_id": served.request_id, "recorded": recorded, "recomputed": recomputed}
