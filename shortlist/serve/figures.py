"""What a worker tells of itself: the figures of `metrics`, filled from its service and its line."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import shortlist
from shortlist.pipeline.trace import Trace
from shortlist.serve.eventlog.contract import LogError
from shortlist.serve.line import Line
from shortlist.serve.metrics import Labels, Metrics
from shortlist.serve.service import Service

PAGE = os.sysconf("SC_PAGE_SIZE")


class Figures:
    """One per worker."""

    def __init__(self, service: Service, line: Line) -> None:
        self.service, self.line = service, line
        self.metrics = made = Metrics(service.settings.place / "metrics")
        self._requests = made.counter("shortlist_requests_total", "Requests by route and HTTP status.")
        self._seconds = made.histogram("shortlist_request_seconds", "Time from a request's arrival to its answer.")
        self._stages = made.histogram("shortlist_stage_seconds", "Time of each part and stage of an answer.")
        self._degraded = made.counter(
            "shortlist_degraded_total", "Answers that had to do without something, by what it was."
        )
        for engine in service.engines.values():
            engine.observe = self.answered
        gauges: tuple[tuple[str, str, Callable[[], dict[Labels, float]]], ...] = (
            ("shortlist_waiting", "Requests that wait for their turn.", lambda: {(): len(line)}),
            ("shortlist_refused", "Requests refused by this worker, by why.", self._refused),
            ("shortlist_log_waiting", "Entries that wait for the disk.", lambda: {(): service.writer.waiting}),
            ("shortlist_log_dropped", "Answers that found no room in the log.", lambda: {(): service.writer.dropped}),
            ("shortlist_log_behind", "Entries that the log has and this worker has not.", self._log_behind),
            ("shortlist_state_position", "Entries of the log folded in.", self._positions),
            ("shortlist_state_events", "Events folded in, the bundle's own included.", self._counts),
            ("shortlist_state_age_seconds", "How long ago, by the service's clock, the newest event was.", self._age),
            ("shortlist_part_out", "Parts that are left out now.", self._out),
            ("shortlist_ready", "Is the worker ready?", lambda: {(): float(service.ready)}),
            ("shortlist_bundle_info", "The bundle of each surface.", self._bundles),
            ("shortlist_resident_bytes", "Memory of the worker.", lambda: {(): _resident()}),
        )
        for name, about, read in gauges:
            made.gauge(name, about, read)

    def finished(self, route: str, status: int, seconds: float) -> None:
        """A request was answered, or refused."""
        self._requests(1.0, route=route, status=str(status))
        self._seconds(seconds, route=route)

    def answered(self, surface: str, trace: Trace | None, degraded: list[str]) -> None:
        """An engine made an answer."""
        for what in degraded:
            self._degraded(1.0, surface=surface, what=what)
        for stage, seconds in trace.seconds.items() if trace is not None else ():
            self._stages(seconds, surface=surface, stage=stage)

    def _each(self, read: Callable[[Any], float]) -> dict[Labels, float]:
        return {(("surface", name),): float(read(engine)) for name, engine in self.service.engines.items()}

    def _refused(self) -> dict[Labels, float]:
        return {(("why", "full"),): float(self.line.refused), (("why", "late"),): float(self.line.late)}

    def _log_behind(self) -> dict[Labels, float]:
        try:
            return {(): float(self.service.behind())}
        except LogError:
            return {}

    def _positions(self) -> dict[Labels, float]:
        return self._each(lambda engine: engine.position)

    def _counts(self) -> dict[Labels, float]:
        return self._each(lambda engine: engine.state.count)

    def _age(self) -> dict[Labels, float]:
        now = self.service.now()
        return self._each(lambda engine: max(now - engine.state.now, 0))

    def _out(self) -> dict[Labels, float]:
        return {
            (("surface", name), ("part", part)): 1.0
            for name, engine in self.service.engines.items()
            if engine.resilient is not None
            for part in engine.resilient.breakers.out()
        }

    def _bundles(self) -> dict[Labels, float]:
        version = ("version", shortlist.__version__)
        return {
            (("surface", name), ("bundle", engine.name), version): 1.0 for name, engine in self.service.engines.items()
        }


def _resident() -> float:
    """Bytes of memory that this process holds."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return float(int(file.read().split()[1]) * PAGE)
    except OSError:
        return 0.0
