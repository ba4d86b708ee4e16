"""The timeline: one axis of time with roles. Sources are fitted on the past, the ranker is labelled on the next windows, the
newest of them validates, the last one tests. Nothing that a cut-off may not know enters its split.

    log   |------------- sources -------------|- label -|- label -|- validate -|--- test ---|
    cut-offs                                  c0        c1        c2           T
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from shortlist.core.batch import Array
from shortlist.core.component import param
from shortlist.core.errors import ConfigError, DataError
from shortlist.core.rng import rng
from shortlist.core.rows import offsets_of
from shortlist.core.units import iso, moment, seconds
from shortlist.data.dataset import Dataset
from shortlist.data.log import Log


@dataclass(frozen=True)
class Split:
    """What is known (events at log positions below `start`), and the window whose events are the answers (`start` to `stop`).
    dropped: log positions below `start` that are held back all the same (leave-one-out only)."""

    cut: int  # unix seconds: the prediction time
    start: int
    stop: int
    name: str = ""
    dropped: Array | None = None
    answers: Array | None = None  # log positions of the answers, when they are not simply start:stop


@dataclass(frozen=True)
class Shown:
    """What was shown at each of n requests: request i owns `offsets[i]:offsets[i + 1]`."""

    offsets: Array  # int64, n + 1
    items: Array  # int32, distinct within a request, in the order in which they were logged
    position: Array | None = None  # int32 place on the slate, -1 where the log does not say; None without such a column

    def take(self, rows: Array) -> Shown:
        """Of some requests, by index, in that order."""
        offsets, index = _ragged(self.offsets, rows)
        return Shown(offsets, self.items[index], None if self.position is None else self.position[index])


@dataclass(frozen=True)
class Requests:
    """Who asks, when, at which log position, and what the right answers were. All columns in log order of asking.

    user, time, position: (n,); offsets (n + 1,), items: ragged targets; grades: their graded relevance.
    """

    user: Array
    time: Array
    position: Array
    offsets: Array
    items: Array
    grades: Array
    event: Array  # (n,) log position of the event that the request stands for, -1 for a whole window
    shown: Shown | None = None  # the candidates, where they are given; the targets are some of them

    def __len__(self) -> int:
        return len(self.user)

    def take(self, rows: Array) -> Requests:
        """Some requests, by index, in that order."""
        offsets, index = _ragged(self.offsets, rows)
        return Requests(
            self.user[rows], self.time[rows], self.position[rows], offsets, self.items[index], self.grades[index],
            self.event[rows], None if self.shown is None else self.shown.take(rows),
        )  # fmt: skip


@dataclass(frozen=True)
class Timeline:
    """How a data set is cut. Written once, as the `[timeline]` table of a recipe.

    Times are ISO dates, or shares of the events in (0, 1); lengths are durations ("1d") or shares of the events.
    """

    test: str | float = param(0.9, "start of the last test window: a date, or a share of the events")
    until: str = param("", "end of the last test window: a date; the end of the data when empty")
    window: str | float = param(
        "", "length of a label window: a duration or a share; that of the test window when empty"
    )
    step: str | float = param(
        "", "time from one label cut-off to the next: a duration or a share; the window when empty"
    )
    cutoffs: int = param(3, "label windows for the ranker, the newest of which validates", low=1, high=100)
    windows: int = param(1, "rolling test windows, each fitted afresh; the last one starts at `test`", low=1, high=100)
    gap: str = param("0s", "time between what is known and the window that is predicted", duration=True)
    train_from: str = param("", "events before this date are left out; all are used when empty")
    labels: str = param("window", "requests at one prediction time, or each at its own", options=("window", "next"))
    targets: str = param(
        "all", "answers of a window: all, or those of the user's first request in it", options=("all", "first")
    )
    split: str = param(
        "time", "global time; or the last events of each user, which leaks across users", options=("time", "last")
    )
    holdout: float = param(0.0, "share of users who are absent from all training", low=0.0, high=0.9)
    refit: str = param(
        "each", "sources refitted as of each label cut-off, or frozen at the first", options=("each", "first")
    )

    def splits(self, data: Dataset) -> list[list[Split]]:
        """For every test window, oldest first: its label splits, oldest first, and the test split last."""
        log = data.log
        if not len(log):
            raise DataError("the log is empty")
        if self.split == "last":
            if self.labels == "next":
                raise ConfigError(
                    "timeline.labels: 'next' needs timeline.split = 'time'; the last events per user have no window"
                )
            return [self._last(log)]
        tests = self._tests(log)
        length = self._length(log, tests)
        return [
            [*self._labels(log, *self._asked(log, cut, start), length), self._made(log, cut, start, stop, "test")]
            for start, stop, cut in tests
        ]

    def at(self, data: Dataset, cut: int) -> list[Split]:
        """The label splits before a moment, oldest first, and a split without answers at that moment: what a fit as of then
        may use. Events at or after it change nothing: shares are shares of the events before it. The moment is now, so all
        that came before it is known: a gap lies behind it, and before the label windows."""
        start = data.log.position(cut)
        if start == 0:
            raise ConfigError(f"timeline: no event before {iso(cut)}: nothing can be learned as of then")
        known = data.log.slice(0, start)
        # Only a window "as long as the last test window" asks where that is.
        length = self.window if self.window != "" else self._length(known, self._tests(known))
        return [*self._labels(known, cut, start, length), Split(cut, start, start, "end")]

    def _length(self, log: Log, tests: list[tuple[int, int, int]]) -> str | float:
        """The length of a label window: as given, or the last test window's, as a share of the events."""
        return self.window if self.window != "" else (tests[-1][1] - tests[-1][0]) / len(log)

    def _tests(self, log: Log) -> list[tuple[int, int, int]]:
        """(first log position, last, cut) of every test window, oldest first."""
        first, last = int(log.time[0]), int(log.time[-1])
        test = self._start(log)
        until = moment(self.until) if self.until else last + 1
        if not first < test <= last:
            raise ConfigError(f"timeline.test: {iso(test)} is outside the data, which span {iso(first)} to {iso(last)}")
        if until <= test:
            raise ConfigError(f"timeline.until: {iso(until)} is not after timeline.test, {iso(test)}")
        tests = [(log.position(test), log.position(until), test)]
        for i in range(1, self.windows):
            start = test - i * (until - test)
            tests.insert(0, (log.position(start), tests[0][0], start))
        return tests

    def _start(self, log: Log) -> int:
        if isinstance(self.test, float):
            if not 0 < self.test < 1:
                raise ConfigError(f"timeline.test: {self.test} is not a share of the events in (0, 1), nor a date")
            return int(log.time[min(int(self.test * len(log)), len(log) - 1)])
        return moment(self.test)

    def _labels(self, log: Log, cut: int, start: int, length: str | float) -> list[Split]:
        """Label splits whose windows end by `cut`, log position `start`: what lies behind it may teach nothing."""
        floor = moment(self.train_from) if self.train_from else int(log.time[0])
        made: list[Split] = []
        cut, start = self._back(log, cut, start, length)
        for i in range(self.cutoffs):
            asked, known = self._asked(log, cut, start)
            if asked <= floor or known <= log.position(floor):
                raise ConfigError(
                    f"timeline.cutoffs: {self.cutoffs} label windows reach back to {iso(asked)}, before the data begin at "
                    f"{iso(floor)}; choose fewer or shorter windows"
                )
            name = "validate" if i == 0 else f"label {self.cutoffs - i}"
            made.insert(0, self._made(log, cut, start, self._ahead(log, cut, start, length), name))
            cut, start = self._back(log, cut, start, length if self.step == "" else self.step)
        return made

    def _back(self, log: Log, cut: int, start: int, length: str | float) -> tuple[int, int]:
        """The moment and log position that lie `length` before another."""
        if isinstance(length, str):
            return cut - int(seconds(length)), log.position(cut - int(seconds(length)))
        edge = int(log.time[max(start - max(1, round(length * len(log))), 0)])
        return edge, log.position(edge)

    def _ahead(self, log: Log, cut: int, start: int, length: str | float) -> int:
        """The log position where a window that begins at a moment ends."""
        if isinstance(length, str):
            return log.position(cut + int(seconds(length)))
        return start + max(1, round(length * len(log)))

    def _asked(self, log: Log, cut: int, start: int) -> tuple[int, int]:
        """The prediction time, and its log position, of a window that begins at a moment: the gap earlier."""
        gap = int(seconds(self.gap))
        return (cut - gap, log.position(cut - gap)) if gap else (cut, start)

    def _made(self, log: Log, cut: int, start: int, stop: int, name: str) -> Split:
        """The split of the window from `cut`, log position `start`, to log position `stop`."""
        asked, known = self._asked(log, cut, start)
        return Split(asked, known, stop, name, answers=None if known == start else np.arange(start, stop))

    def _last(self, log: Log) -> list[Split]:
        """Leave-one-out: the answers of split i are each user's i-th event from the end; all later ones are held back."""
        order = np.argsort(log.user, kind="stable")
        counts = np.bincount(log.user)
        from_end = np.empty(len(log), dtype=np.int64)
        ends = np.cumsum(counts)
        from_end[order] = np.repeat(ends, counts) - np.arange(len(log)) - 1
        enough = counts[log.user] > self.cutoffs + 1  # the others stay in training with everything they did
        cut = int(log.time[-1]) + 1
        made = []
        for depth in range(self.cutoffs, -1, -1):
            name = "test" if depth == 0 else "validate" if depth == 1 else f"label {self.cutoffs - depth + 1}"
            dropped = np.flatnonzero(enough & (from_end <= depth))
            answers = np.flatnonzero(enough & (from_end == depth))
            made.append(Split(cut, len(log), len(log), name, dropped, answers))
        return made

    def training(self, data: Dataset, split: Split) -> Log:
        """What sources may be fitted on: the known events, from `train_from` on, of users who are not held out."""
        log = data.log
        first = log.position(moment(self.train_from)) if self.train_from else 0
        known = log.slice(first, split.start)
        keep = np.ones(len(known), dtype=bool)
        if split.dropped is not None:
            keep[split.dropped[split.dropped >= first] - first] = False
        held = self.held_out(data)
        if held is not None:
            keep &= ~held[known.user]
        return known if keep.all() else known.take(keep)

    def known(self, data: Dataset, split: Split) -> Log:
        """What the state may be advanced with: all known events, also of held-out users, in log order."""
        known = data.log.slice(0, split.start)
        if split.dropped is None:
            return known
        keep = np.ones(len(known), dtype=bool)
        keep[split.dropped] = False
        return known.take(keep)

    def held_out(self, data: Dataset) -> Array | None:
        """(users,) bool: who is absent from training; None when nobody is. A user's lot depends on nobody else."""
        if self.holdout <= 0:
            return None
        draws = [rng(0, "holdout", name).random() for name in data.catalogue.users.ids.series().to_list()]
        return np.array(draws) < self.holdout

    def requests(
        self,
        data: Dataset,
        split: Split,
        positive: Array,
        *,
        most: int = 0,
        seed: int = 0,
        grades: Mapping[int, float] | None = None,
        training: bool = False,
    ) -> Requests:
        """The requests of a split: one per user with a positive event in its window (`positive`: kind codes). most: at most
        so many users, drawn with `numpy.random.default_rng(seed)` from the sorted outside ids. training: leave out
        held-out users."""
        log = data.log
        rows = np.arange(split.start, split.stop) if split.answers is None else split.answers
        rows = rows[np.isin(log.kind[rows], positive)]
        held = self.held_out(data) if training else None
        if held is not None:
            rows = rows[~held[log.user[rows]]]
        draw = np.random.default_rng(seed)
        users = _chosen(data, np.unique(log.user[rows]), most, draw)
        rows = rows[np.isin(log.user[rows], users)]
        rows = rows[np.argsort(log.user[rows], kind="stable")]
        if self.labels == "next":
            return self._next(log, rows, draw)
        if self.targets == "first":
            rows = rows[_first(log, rows)]
        return self._window(log, rows, split, grades or {})

    def _window(self, log: Log, rows: Array, split: Split, grades: Mapping[int, float]) -> Requests:
        """One request per user at the cut-off; targets: the distinct items of its rows, with their best grade."""
        grade = np.ones(len(rows), dtype=np.float32)
        for kind, value in grades.items():
            grade[log.kind[rows] == kind] = value
        pair = (log.user[rows].astype(np.int64) << 32) | log.item[rows]
        order = np.lexsort((-grade, pair))
        first = np.ones(len(order), dtype=bool)
        first[1:] = pair[order][1:] != pair[order][:-1]
        order = order[first]
        users, counts = np.unique(log.user[rows][order], return_counts=True)
        n = len(users)
        times = np.full(n, split.cut, dtype=np.int64)
        if self.split == "last":  # each user's last event has a time of its own
            times = log.time[rows][order][offsets_of(counts)[:-1]]
        return Requests(
            users.astype(np.int32), times, np.full(n, split.start, dtype=np.int64),
            offsets_of(counts), log.item[rows][order], grade[order], np.full(n, -1, dtype=np.int64),
        )  # fmt: skip

    def _next(self, log: Log, rows: Array, draw: np.random.Generator) -> Requests:
        """One request per user just before one of its events, drawn at random; the target is that event's item."""
        users, starts, counts = np.unique(log.user[rows], return_index=True, return_counts=True)
        chosen = rows[starts + (draw.random(len(users)) * counts).astype(np.int64)]
        chosen = np.sort(chosen)
        n = len(chosen)
        return Requests(
            log.user[chosen], log.time[chosen], chosen.astype(np.int64), np.arange(n + 1, dtype=np.int64),
            log.item[chosen], np.ones(n, dtype=np.float32), chosen.astype(np.int64),
        )  # fmt: skip


def _ragged(offsets: Array, rows: Array) -> tuple[Array, Array]:
    """Offsets and entry indices of some runs, by index, in that order."""
    counts = np.diff(offsets)[rows]
    taken = offsets_of(counts)
    return taken, np.repeat(offsets[:-1][rows] - taken[:-1], counts) + np.arange(taken[-1])


def drawn(data: Dataset, users: Array, there: Array, most: int, seed: int) -> Array:
    """(len,) bool: rows whose user is among at most `most` (0 = all) of those of the rows `there`, drawn as for any window."""
    return np.isin(users, _chosen(data, np.unique(users[there]), most, np.random.default_rng(seed)))


def _chosen(data: Dataset, users: Array, most: int, draw: np.random.Generator) -> Array:
    """At most `most` users, drawn from their outside ids in sorted order (so that the draw does not depend on codes)."""
    if most <= 0 or len(users) <= most:
        return users
    names = pl.DataFrame({"code": users, "id": data.catalogue.users.ids.names(users)}).sort("id")
    return names["code"].to_numpy()[np.sort(draw.choice(len(names), most, replace=False))]


def _first(log: Log, rows: Array) -> Array:
    """Mask of rows (sorted by user, log order within) that belong to the user's first request, or first moment without ids."""
    column = log.columns.get("request", log.time)
    starts = (
        np.flatnonzero(np.concatenate([[True], np.diff(log.user[rows]) != 0])) if len(rows) else np.zeros(0, np.int64)
    )
    counts = np.diff(np.append(starts, len(rows)))
    mask: Array = column[rows] == np.repeat(column[rows][starts], counts)
    return mask
