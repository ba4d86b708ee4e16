"""The definitions of the folds, in plain loops over the whole log."""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from shortlist.core.batch import Columns
from shortlist.core.units import seconds
from shortlist.state.fold.count import Count
from shortlist.state.fold.decay import Decay
from shortlist.state.fold.last import Last
from shortlist.state.fold.window import Window
from tests.state.toys import CATEGORIES, KINDS, REGIONS

Key = tuple[Any, ...] | None


def key_of(by: Sequence[str], user: int, item: int, device: int) -> Key:
    """The key of an event or a candidate, by its meaning; None where any part is missing."""
    parts = {
        "user": user if user >= 0 else None,
        "item": item,
        "item.category": CATEGORIES[item % 6],
        "user.region": REGIONS[user % 3] if user >= 0 else None,
        "device": device if device >= 0 else None,
    }
    key = tuple(parts[name] for name in by)
    return None if None in key else key


def defined(fold: Any, log: Columns, key: Key, time: int) -> float:
    """What reading the fold must give for a key at a time, after the whole log."""
    mine, now = [], max(log["time"].tolist(), default=-(2**62))
    for e in range(len(log["time"])):
        if fold.event and KINDS[log["kind"][e]] not in fold.event:
            continue
        own = key_of(fold.by, int(log["user"][e]), int(log["item"][e]), int(log["device"][e]))
        if own is not None and own == key:
            mine.append((int(log["time"][e]), float(log["value"][e])))
    later = max(time, now)
    if isinstance(fold, Count):
        return sum((0.0 if math.isnan(value) else value) if fold.weigh else 1.0 for _, value in mine)
    if isinstance(fold, Decay):
        life = seconds(fold.half_life[0])
        return math.fsum(
            ((0.0 if math.isnan(value) else value) if fold.weigh else 1.0) * math.exp2((t - later) / life)
            for t, value in mine
        )
    if isinstance(fold, Window):
        length, tiles = Fraction(seconds(fold.length)), fold.tiles
        newest = math.floor(Fraction(later) * tiles / length)
        return float(sum(newest - tiles < math.floor(Fraction(t) * tiles / length) <= newest for t, _ in mine))
    assert isinstance(fold, Last)
    return float(max(time - max(t for t, _ in mine), 0)) if mine else math.nan
