"""Impressions and what became of them: which positive event answers which impression, and the requests that impressions make.

An impression is answered by the positive events of the same user and item that
- carry its request id, wherever they stand in the log; or, where the impression or the event has no id,
- come after it in the log, no later than `within`, and before the pair's next impression.
So an event without an id answers one impression at most: the pair's latest one. An event that stands before the impression, also
in the same second, answers nothing: the log's order is the truth, and the state would know it already. An item that was shown and
not acted on is a negative; nothing else is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numba import njit

from shortlist.core.batch import Array
from shortlist.core.rows import KINDS, offsets_of
from shortlist.data.dataset import Dataset
from shortlist.data.log import Log
from shortlist.data.timeline import Requests, Shown, Split, drawn

NOBODY = np.zeros(0, dtype=np.int64)


class Exposures(NamedTuple):
    """Impressions in log order, (e,) each."""

    rows: Array  # int64 log position
    grade: Array  # float32: the best grade of what answered it, 0 = nothing did
    first: Array  # int64 log position of the first answer, -1 = none
    again: Array  # bool: the same user was shown the same item in the same second before: one exposure, logged twice


def grades_of(positive: Array, grades: Mapping[int, float]) -> Array:
    """(128,) float32: the grade of every event kind, 0 where it is not positive. positive: kind codes; grades: where not 1."""
    table = np.zeros(KINDS, dtype=np.float32)
    table[positive] = 1.0
    for kind, grade in grades.items():
        table[kind] = grade if table[kind] > 0 else 0.0
    return table


def join(log: Log, shown: Array, grades: Array, within: float, start: int = 0, stop: int | None = None) -> Exposures:
    """The impressions (events of kinds `shown`, codes) among the events at log positions start to stop, and what answers them
    there. grades: as `grades_of` gives it; within: seconds. Events outside of start to stop do not exist."""
    part = log.slice(start, len(log) if stop is None else stop)
    is_shown = np.isin(part.kind, shown)
    grade = np.where(is_shown, np.float32(0.0), grades[part.kind])
    rows = np.flatnonzero(is_shown | (grade > 0))
    place = np.full(len(part), -1, dtype=np.int64)  # of an impression among the impressions; -1 = a positive event
    place[is_shown] = np.arange(int(is_shown.sum()))
    pair = (part.user[rows].astype(np.int64) << 32) | part.item[rows]
    request = part.columns["request"][rows] if "request" in part.columns else np.full(len(rows), -1, dtype=np.int32)
    count = int(is_shown.sum())
    best, first, again = np.zeros(count, np.float32), np.full(count, -1, np.int64), np.zeros(count, bool)

    order = np.argsort(pair, kind="stable")
    _by_time(order, rows, pair, part.time, request, place, grade, within, best, first, again)
    named = np.flatnonzero(request >= 0)
    if len(named):
        order = named[np.lexsort((request[named], pair[named]))]
        _by_request(order, rows, pair, request, place, grade, best, first)
    return Exposures(np.flatnonzero(is_shown) + start, best, np.where(first >= 0, first + start, -1), again)


@njit(cache=True, nogil=True)
def _by_time(
    order: Array, rows: Array, pair: Array, time: Array, request: Array, place: Array, grade: Array, within: float,
    best: Array, first: Array, again: Array,
) -> None:  # fmt: skip
    """Events pair by pair in log order: each positive one answers the impression that the pair had last."""
    last = -1  # index into `order`'s entries of the pair's latest impression
    for j in range(len(order)):
        e = order[j]
        if j == 0 or pair[e] != pair[order[j - 1]]:
            last = -1
        row = rows[e]
        if place[row] >= 0:
            again[place[row]] = last >= 0 and time[rows[last]] == time[row]
            last = e
        elif last >= 0 and (request[e] < 0 or request[last] < 0) and time[row] - time[rows[last]] <= within:
            _answer(place[rows[last]], row, grade[row], best, first)


@njit(cache=True, nogil=True)
def _by_request(
    order: Array, rows: Array, pair: Array, request: Array, place: Array, grade: Array, best: Array, first: Array
) -> None:
    """Runs of one pair and one request id: every positive event answers every impression."""
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and pair[order[stop]] == pair[order[start]]:
            if request[order[stop]] != request[order[start]]:
                break
            stop += 1
        top, row = np.float32(0.0), -1
        for j in range(start, stop):
            event = rows[order[j]]
            if place[event] < 0:
                top = max(top, grade[event])
                row = event if row < 0 else min(row, event)
        if row >= 0:
            for j in range(start, stop):
                shown = place[rows[order[j]]]
                if shown >= 0:
                    _answer(shown, row, float(top), best, first)
        start = stop


@njit(cache=True, nogil=True)
def _answer(shown: int, row: int, grade: float, best: Array, first: Array) -> None:
    best[shown] = max(best[shown], grade)
    first[shown] = row if first[shown] < 0 else min(first[shown], row)


def requests(
    data: Dataset,
    split: Split,
    shown: Array,
    grades: Array,
    within: float,
    *,
    most: int = 0,
    users: int = 0,
    seed: int = 0,
    training: bool = False,
    held: Array | None = None,
) -> Requests:
    """The requests of a window, in log order: impressions with one request id, or one moment where they have none, of one user.
    Each stands at its first impression: the state knows what came before, except where an answer with its id was logged earlier
    still; then it stands there, so that the state never knows the answer. Its candidates are its items, its targets those that
    were answered. A repeated exposure (see `Exposures.again`) is left out.

    training: answers after the window are unknown, so that a cut-off never learns from what came after it; a test counts them.
    most: whole users, drawn from their outside ids, until there are so many requests; users: at most so many users; 0 = all.
    held: (users,) bool, whose impressions are left out.
    """
    log = data.log
    begin = split.start if split.answers is None or not len(split.answers) else int(split.answers[0])
    found = join(log, shown, grades, within, begin, split.stop if training else len(log))
    keep = (found.rows < split.stop) & ~found.again
    if held is not None:
        keep &= ~held[log.user[found.rows]]
    keep &= drawn(data, log.user[found.rows], keep, users, seed)
    group = _groups(log, found, keep)
    if most > 0:
        chosen = _bounded(data, log.user[found.rows[keep]], group, most, seed)
        keep[np.flatnonzero(keep)[~chosen]] = False
        group = np.unique(group[chosen], return_inverse=True)[1]
    return _made(log, found.rows[keep], found.grade[keep], _stands(found)[keep], group)


def _stands(found: Exposures) -> Array:
    """(e,) where the state must stand for each impression: before it, and before any answer to it."""
    at: Array = np.where(found.first >= 0, np.minimum(found.rows, found.first), found.rows)
    return at


def _groups(log: Log, found: Exposures, keep: Array) -> Array:
    """The number of the request that each kept impression belongs to, in the order in which the requests stand in the log."""
    rows, at = found.rows[keep], _stands(found)[keep]
    request = log.columns["request"][rows] if "request" in log.columns else np.full(len(rows), -1, dtype=np.int32)
    alone = request < 0
    key = np.where(alone, log.time[rows], request)
    order = np.lexsort((rows, key, alone, log.user[rows]))
    new = np.zeros(len(rows), dtype=bool)
    new[:1] = True
    for column in (key, alone, log.user[rows]):
        ordered = column[order]
        new[1:] |= ordered[1:] != ordered[:-1]
    run = np.cumsum(new) - 1
    firsts = np.minimum.reduceat(at[order], np.flatnonzero(new)) if len(rows) else rows
    number = np.empty(len(firsts), dtype=np.int64)
    number[np.argsort(firsts)] = np.arange(len(firsts))
    group = np.empty(len(rows), dtype=np.int64)
    group[order] = number[run]
    return group


def _bounded(data: Dataset, user: Array, group: Array, most: int, seed: int) -> Array:
    """(len,) bool: the impressions of whole users, in a random order of their outside ids, while they make at most `most`
    requests; of the first user alone as many as may be."""
    first = np.unique(group, return_index=True)[1]
    asked = user[first]
    if len(asked) <= most:
        return np.ones(len(user), dtype=bool)
    names = data.catalogue.users.ids
    codes, counts = np.unique(asked, return_counts=True)
    by_name = np.argsort(names.names(codes).rank("ordinal").to_numpy())
    codes, counts = codes[by_name], counts[by_name]
    order = np.random.default_rng(seed).permutation(len(codes))
    fits = int((np.cumsum(counts[order]) <= most).sum())
    if not fits:
        kept: Array = (user == codes[order[0]]) & np.isin(group, group[first][asked == codes[order[0]]][:most])
        return kept
    return np.isin(user, codes[order[:fits]])


def _made(log: Log, rows: Array, grade: Array, at: Array, group: Array) -> Requests:
    """Impressions of numbered requests as requests: each item once, in the order in which it was shown."""
    order = np.lexsort((rows, log.item[rows], group))
    new = np.ones(len(rows), dtype=bool)
    new[1:] = (group[order][1:] != group[order][:-1]) | (log.item[rows][order][1:] != log.item[rows][order][:-1])
    starts = np.flatnonzero(new)
    best = np.maximum.reduceat(grade[order], starts) if len(starts) else grade
    first = order[starts]  # of each request and item, its earliest impression
    shown_order = np.lexsort((rows[first], group[first]))
    first, best = first[shown_order], best[shown_order]
    number = group[first]
    counts = np.bincount(number) if len(number) else NOBODY
    offsets = offsets_of(counts)
    events = rows[first][offsets[:-1]]
    stands = np.full(len(counts), len(log), dtype=np.int64)
    np.minimum.at(stands, group, at)
    items = log.item[rows[first]]
    position = log.columns["position"][rows[first]] if "position" in log.columns else None
    taken = best > 0
    targets = offsets_of(np.bincount(number[taken], minlength=len(counts)))
    return Requests(
        log.user[events],
        log.time[events],
        events,
        targets,
        items[taken],
        best[taken],
        events,
        Shown(offsets, items, position),
    )


def rates(log: Log, found: Exposures, positions: Array, items: Array, prior: float) -> Array:
    """(r,) float64 live rate of items, as of log positions (ascending): impressions that were answered so far over impressions so
    far, with `prior` more impressions at the rate of all items together. found: the log's exposures; an impression counts from
    its own position on, its answer from the position of the first answer on."""
    answers = np.sort(found.first[found.first >= 0])
    answered = log.item[answers]
    size = int(max(log.item.max(initial=-1), items.max(initial=-1))) + 1
    return _rates(found.rows, log.item[found.rows], answers, answered, positions, items, prior, size)


@njit(cache=True, nogil=True)
def _rates(
    rows: Array, shown: Array, answers: Array, answered: Array, positions: Array, items: Array, prior: float, size: int
) -> Array:
    impressions, taken = np.zeros(size), np.zeros(size)
    every, hits = 0.0, 0.0
    a = b = 0
    out = np.empty(len(positions))
    for i in range(len(positions)):
        while a < len(rows) and rows[a] < positions[i]:
            impressions[shown[a]] += 1.0
            every += 1.0
            a += 1
        while b < len(answers) and answers[b] < positions[i]:
            taken[answered[b]] += 1.0
            hits += 1.0
            b += 1
        # One positive and one negative beforehand, so that the very first impression has a rate.
        overall = (hits + 1.0) / (every + 2.0)
        out[i] = (taken[items[i]] + prior * overall) / (impressions[items[i]] + prior)
    return out
