"""Resilient: the pipeline of a service, which answers in time whatever a part does.

A request runs in a worker thread while its caller waits, so that a part that hangs can be given up: the thread is abandoned with it, its
part is not asked again until it has returned, and the request is run again without it. So there are at most as many abandoned threads as
requests that ran into the part at the same moment. What a part may take, and what happens without it, says its `Limit`.

    heavy      the whole pipeline, without the parts that fail
    light      the order of the sources, without features and rankers
    popular    the list of last resort: what the sources last had for somebody unknown

A part that never lets go of the interpreter (a C loop that holds the lock) stops the process, and no thread can help it: run several workers.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, NamedTuple

import numpy as np

from shortlist.core.batch import Array, Batch
from shortlist.core.contracts import Mask
from shortlist.core.errors import ShortlistError
from shortlist.core.units import seconds
from shortlist.pipeline.breaker import Breakers
from shortlist.pipeline.limits import Limit, Serve, of
from shortlist.pipeline.pipeline import Made, Pipeline, Run
from shortlist.pipeline.trace import Trace
from shortlist.state.state import State

LISTED = 1000  # items in the list of last resort
GRACE = 0.005  # seconds behind the deadline in which that list passes the filters, when one of them has failed this request already
ABANDONED = 32  # threads that may hang at a time; beyond that nobody is waited for
LIGHT, POPULAR = "light", "popular"


Work = Callable[[Trace, Run, bool], Batch]  # a trace to fill, how parts are called, without features and rankers?


class Unavailable(ShortlistError):
    """No answer: a part failed without which there may be none (`on_error = "fail"`)."""


class Outcome(NamedTuple):
    """An answer, and what it had to do without: places of parts (`source.ease`), then `light` or `popular`; empty when all is well."""

    answer: Batch
    degraded: tuple[str, ...]


class _Abandoned(BaseException):
    """Ends a thread whose caller has gone. Not an Exception, so that no part takes it for one of its own."""


class Resilient:
    """One per pipeline. Several threads may ask at once. Close it to end its threads.

    clock: seconds, of the breakers, for tests.
    """

    def __init__(self, pipeline: Pipeline, serve: Serve, clock: Callable[[], float] = time.monotonic) -> None:
        self.pipeline = pipeline
        self.deadline = serve.deadline_ms / 1000
        self.breakers = Breakers(serve.failures, seconds(serve.retry), clock)
        self.reserve: Batch | None = None  # the list of last resort, of one unknown user
        budgets = [limit.budget_ms / 1000 for limit in pipeline.limits.values() if limit.budget_ms]
        self._least = min(budgets, default=3600.0)
        self._refresh = seconds(serve.refresh)
        self._made = -float("inf")  # when the reserve was made
        self._usual = 0.0  # seconds that a whole answer takes, lately
        self._idle: list[_Worker] = []
        self._lost = 0
        self._lock = threading.Lock()

    def recommend(
        self,
        batch: Batch,
        state: State,
        k: int,
        trace: Trace | None = None,
        ban: Mask | None = None,
        *,
        deadline: float | None = None,
        since: float | None = None,
    ) -> Outcome:
        """The answer of one request, at most k items: see `answered`."""

        def work(trace: Trace, run: Run, light: bool) -> Batch:
            return self.pipeline.recommend(batch, state, k, trace, ban, run, light)

        return self.answered(work, batch, state, k, trace, ban, deadline=deadline, since=since)

    def answered(
        self,
        work: Work,
        batch: Batch,
        state: State,
        k: int,
        trace: Trace | None = None,
        ban: Mask | None = None,
        *,
        items: Array | None = None,
        deadline: float | None = None,
        since: float | None = None,
    ) -> Outcome:
        """What `work` makes of one request, at most k items, by `deadline` seconds (the recipe's unless given) after `since` (a moment of
        `time.perf_counter`; now). ban: what the request itself does not allow; items: codes, the answer is one of these only. Unavailable where
        a part failed that may not, and nothing else: the ladder always ends in a list."""
        start = time.perf_counter()
        limit = self.deadline if deadline is None else deadline
        end = (start if since is None else since) + limit
        whole, least = trace is not None and trace.whole, min(limit / 4, self._least)
        asked = _Asked(work, batch, state, k, ban, items, whole, limit, least)
        missing: tuple[str, ...] = ()
        light = False
        while (left := end - time.perf_counter()) > 0 and self._lost < ABANDONED:
            light = bool(missing) and left < 2 * self._usual
            done = self._waited(_Try(self, asked, light=light, spare=left >= limit / 2), end)
            missing = tuple(dict.fromkeys((*missing, *done.missing)))
            if done.error is not None:
                raise done.error
            if done.answer is None:
                continue
            if not done.answer.m and missing:
                break  # perhaps for want of what is missing
            if not missing and not light:
                self._usual += 0.1 * (time.perf_counter() - start - self._usual)
            if trace is not None:
                trace.__dict__.update(done.trace.__dict__)
            light = light or any(place.startswith("ranker.") for place in missing)
            return Outcome(done.answer, (*missing, LIGHT) if light else missing)
        outcome = self._last_resort(asked, missing, end)
        if trace is not None:
            shown = outcome.answer.without([f"rank_{name}" for name in self.pipeline.sources])
            trace.pool = trace.scored = trace.ranked = trace.answer = shown
            trace.dropped = np.full(shown.m, -1, dtype=np.int64)
        return outcome

    def warm(self, batch: Batch, state: State, k: int) -> Outcome:
        """An answer without a deadline: kernels are compiled, the reserve is made."""
        return self.recommend(batch, state, k, deadline=float("inf"))

    def restock(self, batch: Batch, state: State, run: Run) -> None:
        """Make the list of last resort anew when it is old; as of a request, so that no other thread has to read the state."""
        now = time.perf_counter()
        if now - self._made < self._refresh:
            return
        self._made = now
        with contextlib.suppress(Exception):  # the old one stays
            listed = self.pipeline.recommend(_nobody(batch), state, LISTED, run=run, light=True)
            self.reserve = listed if listed.m else self.reserve

    def close(self) -> None:
        """End the threads that are idle; those that hang are daemons and end with the process."""
        while self._idle:
            self._idle.pop().jobs.put(None)

    def _last_resort(self, asked: _Asked, missing: tuple[str, ...], end: float) -> Outcome:
        """The reserve through the filters, if they answer at once; else by what each of them declares."""
        listed = self._listed(asked)
        needed = {"score": 0.0, **{f"rank_{name}": np.nan for name in self.pipeline.sources}}
        listed = listed.with_columns(
            {name: np.full(listed.m, value, np.float32) for name, value in needed.items() if name not in listed.cand}
        )
        degraded = (*missing, POPULAR)
        pipeline, k = self.pipeline, np.arange(min(asked.k, listed.m))
        if asked.ban is not None:
            listed = listed.keep(asked.ban.allows(listed))  # no part is asked for that
            k = np.arange(min(asked.k, listed.m))
        if not pipeline.filters:
            return Outcome(listed.take(k), degraded)
        if self._lost < ABANDONED:
            # Filters that have done nothing wrong are late only where the processor is: a late list is better than an empty one, and
            # one that hangs now for the first time holds the request once, up to its deadline again, and then its breaker opens.
            blamed = any(place.startswith("filter.") for place in missing)
            until = max(end, time.perf_counter()) + (GRACE if blamed else max(GRACE, asked.deadline))
            done = self._waited(_Try(self, asked, reserve=listed), until, patient=True)
            if done.error is not None:
                raise done.error
            if done.answer is not None:
                return Outcome(done.answer, tuple(dict.fromkeys((*missing, *done.missing, POPULAR))))
        says = {name: of(pipeline.limits, f"filter.{name}").on_error for name in pipeline.filters}
        if "fail" in says.values():
            name = next(name for name, what in says.items() if what == "fail")
            raise Unavailable(f"filter.{name} did not answer in time, and nothing may be shown without it")
        return Outcome(listed.take(k[:0] if "drop" in says.values() else k), degraded)

    def _listed(self, asked: _Asked) -> Batch:
        """What is left to show: the reserve; of given items those that are in it, in its order, then the others as they came; the candidates that a
        request came with where the pipeline ranks such."""
        req, reserve, items = asked.batch.req, self.reserve, asked.items
        if items is None:
            if reserve is None or self.pipeline.given:
                return asked.batch
            return Batch(req, reserve.offsets, reserve.cand)
        if reserve is not None:
            place = {code: i for i, code in enumerate(reserve.item.tolist())}
            items = np.array(sorted(items.tolist(), key=lambda code: place.get(code, len(place))), dtype=np.int32)
        return Batch(req, np.array([0, len(items)]), {"item": items})

    def _waited(self, attempt: _Try, end: float, patient: bool = False) -> _Try:
        """The try when it is done, or given up: because a part took longer than it may, or at the end. patient: never before the end."""
        with self._lock:
            worker = self._idle.pop() if self._idle else None
        worker = worker or _Worker(self)
        worker.jobs.put(attempt)
        until = end if patient else min(end, time.perf_counter() + attempt.asked.least)
        while not attempt.wait(until - time.perf_counter()):
            now = time.perf_counter()
            place, overdue = attempt.overdue()
            if now >= end or (now >= overdue and not patient):
                with attempt.lock:
                    if attempt.finished:
                        break
                    attempt.abandoned = True
                    attempt.hung = place
                    if place:
                        self.breakers.hangs(place)
                        attempt.missing.append(place)
                with self._lock:
                    self._lost += 1
                return attempt
            until = min(end, overdue)
        with self._lock:
            self._idle.append(worker)
        return attempt

    def _returned(self, attempt: _Try) -> None:
        """An abandoned thread has come back, and ends."""
        with self._lock:
            self._lost -= 1
        if attempt.hung:
            self.breakers.returned(attempt.hung)


class _Asked(NamedTuple):
    """A request. work: what makes its answer."""

    work: Work
    batch: Batch
    state: State
    k: int
    ban: Mask | None
    items: Array | None
    whole: bool
    deadline: float  # seconds
    least: float  # seconds until it is worth a first look whether a part is late


class _Try:
    """One run of the pipeline for a request: `run` is how its parts are called."""

    def __init__(
        self,
        own: Resilient,
        asked: _Asked,
        *,
        light: bool = False,
        reserve: Batch | None = None,
        spare: bool = False,
    ) -> None:
        self.own, self.asked, self.light, self.reserve, self.spare = own, asked, light, reserve, spare
        self.trace = Trace(whole=asked.whole)
        self.missing: list[str] = []
        self.answer: Batch | None = None
        self.error: BaseException | None = None
        self.lock = threading.Lock()
        self.finished = self.abandoned = False
        self.hung = ""
        self._place, self._since = "", 0.0
        self._done = threading.Lock()
        self._done.acquire()

    def wait(self, timeout: float) -> bool:
        """Is it done within so many seconds?"""
        return self._done.acquire(timeout=min(max(timeout, 0.0), threading.TIMEOUT_MAX))

    def overdue(self) -> tuple[str, float]:
        """The part that is running, and the moment at which it will have taken too long."""
        place, since = self._place, self._since
        now = time.perf_counter()
        return (place, since + self._budget(place)) if place else ("", now + self.asked.least)

    def _budget(self, place: str) -> float:
        limit: Limit = of(self.own.pipeline.limits, place)
        return limit.budget_ms / 1000 if limit.budget_ms else self.asked.deadline / 2

    def run(self, place: str, call: Callable[[], Made]) -> Made | None:
        """See `Run`: None for a part that fails or is left out, unless there may be no answer without it."""
        own = self.own
        if self.abandoned:
            raise _Abandoned
        if not own.breakers.may(place):
            self._without(place, "it has failed before and is left out for now", None)
            return None
        self._since = time.perf_counter()
        self._place = place
        try:
            made = call()
        except Exception as error:
            self._place = ""
            if self.abandoned:
                raise _Abandoned from None
            what = f"{type(error).__name__}: {error}"
            own.breakers.failed(place, what)
            self._without(place, what, error)
            return None
        self._place = ""
        if self.abandoned:
            raise _Abandoned
        own.breakers.fine(place)
        return made

    def _without(self, place: str, why: str, error: Exception | None) -> None:
        if of(self.own.pipeline.limits, place).on_error == "fail":
            raise Unavailable(f"{place} failed, and nothing may be shown without it: {why}") from error
        self.missing.append(place)

    def work(self) -> bool:
        """Run, in a worker thread. False when the caller has gone, and the thread shall end, too."""
        try:
            self._answer()
        except _Abandoned:
            pass
        except BaseException as error:
            self.error = error
        with self.lock:
            self.finished = True
            if not self.abandoned:
                self._done.release()
                return True
        self.own._returned(self)
        return False

    def _answer(self) -> None:
        asked, pipeline = self.asked, self.own.pipeline
        if self.reserve is not None:
            kept = pipeline.sieve(self.reserve, asked.state, run=self.run)
            self.answer = kept.take(np.arange(min(asked.k, kept.m)))
            return
        self.answer = asked.work(self.trace, self.run, self.light)
        if self.spare and not self.missing and not pipeline.given:
            self.own.restock(asked.batch, asked.state, self.run)
            self.missing.clear()  # what the reserve lacks is not this request's affair


class _Worker:
    """A thread that takes one try after the other."""

    def __init__(self, own: Resilient) -> None:
        self.jobs: SimpleQueue[Any] = SimpleQueue()
        threading.Thread(target=self._work, name="shortlist-request", daemon=True).start()

    def _work(self) -> None:
        while (attempt := self.jobs.get()) is not None and attempt.work():
            del attempt  # an idle thread keeps no request alive


def _nobody(batch: Batch) -> Batch:
    """The request of somebody unknown, of whom nothing is told, at the same moment."""
    req = {name: _unknown(column) for name, column in batch.req.items() if name != "time"}
    return Batch({**req, "time": batch.time}, np.zeros(2, dtype=np.int64), {"item": np.zeros(0, dtype=np.int32)})


def _unknown(column: Array) -> Array:
    return np.full(len(column), -1 if column.dtype.kind in "iu" else np.nan, dtype=column.dtype)
