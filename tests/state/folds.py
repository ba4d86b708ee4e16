"""The definitions of the folds, in plain loops over the whole log."""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from shortlist.core.batch import Columns
from shortlist.core.units import seconds
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
from tests.state.toys import CATEGORIES, KINDS, REGIONS

Key = tuple[Any, ...] | None


class Event(NamedTuple):
    """One event of a key."""

    time: int
    value: float
    kind: str
    item: int
    user: int


def keys_of(by: Sequence[str], user: int, item: int, device: int, last: int, time: int) -> list[Key]:
    """The keys of an event or a candidate, by their meaning: one, or one per entry where a column holds lists; None where a part
    is missing. user, device, last: -1 = missing."""
    parts: dict[str, Any] = {
        "user": user if user >= 0 else None,
        "item": item,
        "item.category": CATEGORIES[item % 6],
        "item.tags": [f"t{j}" for j in range(item % 4)],
        "user.region": REGIONS[user % 3] if user >= 0 else None,
        "device": device if device >= 0 else None,
        "last": last if last >= 0 else None,
        "last.category": CATEGORIES[last % 6] if last >= 0 else None,
        "hour": time // 3600 % 24,
        "weekday": (time // 86400 + 3) % 7,
    }
    keys: list[tuple[Any, ...]] = [()]
    for name in by:
        keys = [(*key, one) for key in keys for one in (parts[name] if name == "item.tags" else [parts[name]])]
    return [None if None in key else key for key in keys]


def newest_items(log: Columns, history_events: Sequence[str] = KINDS) -> tuple[list[int], dict[int, int]]:
    """Each event's user's newest item before it (-1 = none), and every user's newest item after the log."""
    newest: dict[int, int] = {}
    before = []
    for e in range(len(log["time"])):
        user = int(log["user"][e])
        before.append(newest.get(user, -1))
        if KINDS[log["kind"][e]] in history_events:
            newest[user] = int(log["item"][e])
    return before, newest


def keyed(fold: Any, log: Columns) -> list[tuple[Key, Event]]:
    """The events that a fold is handed, once for every key that they have."""
    before, _ = newest_items(log)
    found: list[tuple[Key, Event]] = []
    for e in range(len(log["time"])):
        event = Event(
            int(log["time"][e]), float(log["value"][e]), KINDS[log["kind"][e]], int(log["item"][e]), int(log["user"][e])
        )
        if fold.kinds and event.kind not in fold.kinds:
            continue
        keys = keys_of(fold.by, event.user, event.item, int(log["device"][e]), before[e], event.time)
        found += [(key, event) for key in keys if key is not None]
    return found


def defined(fold: Any, log: Columns, events: list[tuple[Key, Event]], key: Key, time: int) -> list[float]:
    """What reading the fold must give for a key at a time, after the whole log. events: `keyed(fold, log)`."""
    later = max(time, max(log["time"].tolist(), default=-(2**62)))
    mine = [event for own, event in events if own == key]
    if isinstance(fold, Rate):
        return _rate(fold, mine, [event for _, event in events], later)
    if isinstance(fold, Window):
        length, tiles = Fraction(seconds(fold.length)), fold.tiles
        newest = math.floor(Fraction(later) * tiles / length)
        return [float(sum(newest - tiles < math.floor(Fraction(e.time) * tiles / length) <= newest for e in mine))]
    if isinstance(fold, Last):
        return [float(max(time - max(e.time for e in mine), 0)) if mine else math.nan]
    if isinstance(fold, First):
        return [float(max(time - min(e.time for e in mine), 0)) if mine else math.nan]
    if isinstance(fold, Count):
        return [sum(_weight(fold, e) for e in mine)]
    if isinstance(fold, Decay):
        return [math.fsum(_weight(fold, e) * _faded(e, later, life) for e in mine) for life in fold.half_life]
    if isinstance(fold, Mean):
        return _mean(fold, mine, later)
    if isinstance(fold, Value):
        valued = [(e.time, i, e.value) for i, e in enumerate(mine) if not math.isnan(e.value)]
        return [max(valued)[2] if valued else math.nan]
    if isinstance(fold, Gap):
        return _gap(mine, later)
    if isinstance(fold, Session):
        return _session(mine, later, seconds(fold.gap))
    if isinstance(fold, Distinct):
        return [float(len({getattr(e, fold.of) for e in mine}))]
    assert isinstance(fold, Follow)
    return [float(len(mine))]


def _weight(fold: Any, event: Event) -> float:
    if not fold.weigh:
        return 1.0
    return 0.0 if math.isnan(event.value) else event.value


def _faded(event: Event, later: int, life: str) -> float:
    return math.exp2((event.time - later) / seconds(life)) if life else 1.0


def _rate(fold: Rate, mine: list[Event], everything: list[Event], later: int) -> list[float]:
    out = []
    for life in fold.half_life:
        above, below = _sides(fold, everything, later, life)
        base = above / below if below > 0 else 0.0
        above, below = _sides(fold, _counted(fold, mine, later), later, life)
        out.append((above + fold.prior * base) / (below + fold.prior) if below + fold.prior > 0 else base)
    return out


def _sides(fold: Rate, events: list[Event], later: int, life: str) -> tuple[float, float]:
    above = [_weight(fold, e) * _faded(e, later, life) for e in events if not fold.event or e.kind in fold.event]
    below = [_faded(e, later, life) for e in events if not fold.over or e.kind in fold.over]
    return math.fsum(above), math.fsum(below)


def _counted(fold: Rate, mine: list[Event], later: int) -> list[Event]:
    """The events of a key that count by now."""
    if fold.lag:
        return [e for e in mine if e.time // seconds(fold.lag) < later // seconds(fold.lag)]
    if not fold.hold:
        return mine
    running = _sessions(mine, seconds(fold.hold))[-1:]
    if running and later - max(e.time for e in running[0]) <= seconds(fold.hold):
        return mine[: -len(running[0])]
    return mine


def _sessions(mine: list[Event], gap: float) -> list[list[Event]]:
    """Events in log order, cut where one comes more than `gap` after the newest time until then."""
    found: list[list[Event]] = []
    for i, event in enumerate(mine):
        if i == 0 or event.time - max(e.time for e in mine[:i]) > gap:
            found.append([])
        found[-1].append(event)
    return found


def _mean(fold: Mean, mine: list[Event], later: int) -> list[float]:
    valued = [(_faded(e, later, fold.half_life), e.value) for e in mine if not math.isnan(e.value)]
    count = math.fsum(w for w, _ in valued)
    if not valued:
        return [math.nan, math.nan, 0.0]
    mean = math.fsum(w * v for w, v in valued) / count
    return [mean, math.sqrt(math.fsum(w * (v - mean) ** 2 for w, v in valued) / count), count]


def _gap(mine: list[Event], later: int) -> list[float]:
    if len(mine) < 2:
        return [math.nan, math.nan]
    gaps = [max(mine[i].time - max(e.time for e in mine[:i]), 0) for i in range(1, len(mine))]
    mean = sum(gaps) / len(gaps)
    return [mean, (later - max(e.time for e in mine)) / mean if mean > 0 else math.nan]


def _session(mine: list[Event], later: int, gap: float) -> list[float]:
    if not mine:
        return [0.0, 0.0, math.nan, 0.0, math.nan]
    every = _sessions(mine, gap)
    times = [e.time for e in every[-1]]
    since = float(later - max(e.time for e in mine))
    if later - max(times) > gap:
        return [0.0, 0.0, math.nan, float(len(every)), since]
    pace = (max(times) - min(times)) / (len(times) - 1) if len(times) > 1 else math.nan
    return [float(len(times)), float(later - min(times)), pace, float(len(every)), since]


def rings(fold: Follow, log: Columns) -> dict[int, list[tuple[int, int]]]:
    """What is in the ring of every item after the log: (item, time), newest last."""
    memories: dict[Key, dict[int, int]] = {}  # per key: items with their newest time, newest last
    found: dict[int, list[tuple[int, int]]] = {}
    for key, event in keyed(fold, log):
        memory = memories.setdefault(key, {})
        if not memory or next(reversed(memory)) != event.item:
            for other, when in reversed(list(memory.items())):
                if other != event.item and abs(event.time - when) <= seconds(fold.within):
                    found.setdefault(other, []).append((event.item, event.time))
                    if fold.both:
                        found.setdefault(event.item, []).append((other, event.time))
        memory.pop(event.item, None)
        memory[event.item] = event.time
        if len(memory) > fold.last:
            memory.pop(next(iter(memory)))
    return {item: entries[-fold.room :] for item, entries in found.items()}


def beside(entries: dict[int, list[tuple[int, int]]], a: int, x: int, time: int, half_life: float) -> float:
    """c(a, x) of the definition."""
    return math.fsum(math.exp2((t - time) / half_life) for item, t in entries.get(a, []) if item == x)
