"""Figures of a service for Prometheus, over all of its workers.

Workers share a port, so a scrape reaches one of them by chance. Each writes what it has counted into a file of its own, once a second and whole
or not at all, and whoever is asked adds up the files. What a worker counted outlives it, so counters never fall; gauges are told by
living workers only. (The usual client library does this by memory-mapped files that grow with every worker ever started, and wants an
environment variable before it is imported.)

Format: https://prometheus.io/docs/instrumenting/exposition_formats/ (text, version 0.0.4).
"""

from __future__ import annotations

import json
import os
import secrets
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

BUCKETS = (
    0.0005,
    0.001,
    0.002,
    0.003,
    0.005,
    0.0075,
    0.01,
    0.015,
    0.025,
    0.05,
    0.1,
    0.25,
    1.0,
    5.0,
)  # seconds, upper bounds
FRESH = 10.0  # seconds after which a worker that has written nothing counts as gone
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = tuple[tuple[str, str], ...]


class Metrics:
    """What one worker counts. Cheap enough for the request path: an observation is a search among the bounds and two additions.

    folder: where the workers of the service write; None = this process is alone.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.about: dict[str, tuple[str, str]] = {}  # name -> (kind, help)
        self._counts: dict[tuple[str, Labels], float] = {}
        self._seconds: dict[tuple[str, Labels], list[float]] = {}  # per bucket, then beyond, then the sum
        self._gauges: dict[str, Callable[[], Mapping[Labels, float]]] = {}
        self._own = f"{os.getpid()}.{secrets.token_hex(4)}.json"
        self._written = -float("inf")

    def counter(self, name: str, about: str) -> Callable[..., None]:
        """A counter: `add(by=1, **labels)`."""
        self.about[name] = ("counter", about)

        def add(by: float = 1.0, **labels: str) -> None:
            key = (name, tuple(labels.items()))
            self._counts[key] = self._counts.get(key, 0.0) + by

        return add

    def histogram(self, name: str, about: str) -> Callable[..., None]:
        """A histogram of seconds: `observe(seconds, **labels)`."""
        self.about[name] = ("histogram", about)

        def observe(seconds: float, **labels: str) -> None:
            key = (name, tuple(labels.items()))
            found = self._seconds.get(key)
            if found is None:
                found = self._seconds[key] = [0.0] * (len(BUCKETS) + 2)
            found[bisect_left(BUCKETS, seconds)] += 1.0
            found[-1] += seconds

        return observe

    def gauge(self, name: str, about: str, read: Callable[[], Mapping[Labels, float]]) -> None:
        """A figure that is read when it is asked for: values by labels. What it raises is swallowed: a scrape must not fail for it."""
        self.about[name] = ("gauge", about)
        self._gauges[name] = read

    def write(self, every: float = 1.0) -> None:
        """Put this worker's figures where the others find them, unless that was done just now."""
        now = time.monotonic()
        if self.folder is None or now - self._written < every:
            return
        self._written = now
        with suppress(OSError):  # a full disk must not stop a service
            self.folder.mkdir(parents=True, exist_ok=True)
            draft = self.folder / f".{self._own}"
            draft.write_text(json.dumps(self._told()), encoding="utf-8")
            draft.replace(self.folder / self._own)

    def text(self) -> str:
        """Everything, of all workers, as Prometheus reads it."""
        self.write(0.0)
        parts = [self._told()] if self.folder is None else list(_files(self.folder))
        return "\n".join(_lines(_summed(parts), self.about)) + "\n"

    def _told(self) -> dict[str, Any]:
        gauges = []
        for name, read in self._gauges.items():
            with suppress(Exception):
                gauges += [[name, labels, float(value)] for labels, value in read().items()]
        return {
            "time": time.time(),
            "counts": [[name, labels, value] for (name, labels), value in list(self._counts.items())],
            "seconds": [[name, labels, values] for (name, labels), values in list(self._seconds.items())],
            "gauges": gauges,
        }


def clean(folder: Path) -> None:
    """Before a service starts its workers: figures of an earlier run go."""
    for path in folder.glob("*.json"):
        path.unlink(missing_ok=True)


def _files(folder: Path) -> Iterator[dict[str, Any]]:
    """What every worker has written; gauges of the living only."""
    now = time.time()
    for path in sorted(folder.glob("[!.]*.json")):
        try:
            told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if now - told["time"] > FRESH:
            told["gauges"] = []
        yield told


def _summed(parts: Iterable[Mapping[str, Any]]) -> dict[str, dict[Labels, Any]]:
    """Figures by name and labels. Counts are added; of a gauge the largest is told: the worker that is furthest behind, or waits most."""
    out: dict[str, dict[Labels, Any]] = {}
    for part in parts:
        for kind in ("counts", "seconds", "gauges"):
            for name, labels, value in part[kind]:
                key = tuple((str(label), str(text)) for label, text in labels)
                known = out.setdefault(name, {})
                if key not in known:
                    known[key] = value
                elif kind == "seconds":
                    known[key] = [a + b for a, b in zip(known[key], value, strict=True)]
                else:
                    known[key] = known[key] + value if kind == "counts" else max(known[key], value)
    return out


def _lines(figures: Mapping[str, Mapping[Labels, Any]], about: Mapping[str, tuple[str, str]]) -> Iterator[str]:
    for name, (kind, helped) in about.items():
        yield f"# HELP {name} {helped}"
        yield f"# TYPE {name} {kind}"
        for labels, value in sorted(figures.get(name, {}).items()):
            if kind != "histogram":
                yield f"{name}{_braces(labels)} {_number(value)}"
                continue
            total = 0.0
            for bound, count in zip((*BUCKETS, float("inf")), value[:-1], strict=True):
                total += count
                yield f"{name}_bucket{_braces((*labels, ('le', _number(bound))))} {_number(total)}"
            yield f"{name}_sum{_braces(labels)} {_number(value[-1])}"
            yield f"{name}_count{_braces(labels)} {_number(total)}"


def _braces(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(text)}"' for name, text in labels) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if float(value).is_integer() else repr(float(value))
