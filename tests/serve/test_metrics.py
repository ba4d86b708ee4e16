"""Figures for Prometheus: what is counted, over workers that come and go."""

from __future__ import annotations

import math
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from shortlist.core.rng import rng
from shortlist.serve import metrics
from shortlist.serve.metrics import BUCKETS, Labels, Metrics, clean

LINE = re.compile(r'^([a-z_]+)(\{(?:[a-z_]+="(?:[^"\\\n]|\\.)*",?)+\})? ([0-9.e+-]+|\+Inf)$')


def read(text: str) -> dict[str, float]:
    """Name and labels -> value; every line must be as the format has it."""
    out = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            assert LINE.match(line), line
            name, _, value = line.rpartition(" ")
            assert name not in out
            out[name] = float(value)
    return out


def test_counts_and_seconds() -> None:
    """A histogram's buckets are cumulative and agree with counting."""
    figures = Metrics()
    add, observe = figures.counter("asked_total", "Requests."), figures.histogram("took_seconds", "Time.")
    values = rng(0, "metrics").gamma(1.0, 0.02, 500)
    for value in values:
        observe(value, route="a")
        add(route="a", status="200")
    add(2, route="b", status='2"0\\0\n')
    found = read(figures.text())
    assert found['asked_total{route="a",status="200"}'] == 500
    assert found['asked_total{route="b",status="2\\"0\\\\0\\n"}'] == 2
    for bound in (*BUCKETS, math.inf):
        label = "+Inf" if bound == math.inf else (str(int(bound)) if bound == int(bound) else repr(bound))
        assert found[f'took_seconds_bucket{{route="a",le="{label}"}}'] == np.sum(values <= bound)
    assert found['took_seconds_count{route="a"}'] == 500
    assert found['took_seconds_sum{route="a"}'] == pytest.approx(values.sum())
    assert figures.text().count("# TYPE") == 2


def behind(by: int) -> dict[Labels, float]:
    """A gauge with a label."""
    return {(("surface", "x"),): float(by)}


def test_workers_are_added_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counters of a worker that is gone stay; its gauges go. An earlier run's figures are not counted."""
    workers = []
    for i in range(3):
        one = Metrics(tmp_path / "metrics")
        one.counter("asked_total", "Requests.")(10 + i)
        one.histogram("took_seconds", "Time.")(0.1)
        one.gauge("behind", "Entries.", partial(behind, i))
        one.write()
        workers.append(one)
    found = read(workers[0].text())
    assert found["asked_total"] == 33
    assert found["took_seconds_count"] == 3
    assert found['behind{surface="x"}'] == 2
    monkeypatch.setattr(metrics, "FRESH", -1.0)
    found = read(workers[1].text())
    assert found["asked_total"] == 33
    assert 'behind{surface="x"}' not in found
    clean(tmp_path / "metrics")
    assert read(workers[2].text())["asked_total"] == 12


def test_a_gauge_that_fails_and_a_damaged_file(tmp_path: Path) -> None:
    figures = Metrics(tmp_path)
    figures.gauge("bad", "Raises.", lambda: {(): 1 / 0})
    figures.gauge("good", "Does not.", lambda: {(): 1.5})
    (tmp_path / "9.json").write_text("{")
    assert read(figures.text()) == {"good": 1.5}


def test_writing_is_rare(tmp_path: Path) -> None:
    """Asked after every request, it writes once a second."""
    figures = Metrics(tmp_path)
    for _ in range(100):
        figures.write()
    (path,) = tmp_path.iterdir()
    stamp = path.stat().st_mtime_ns
    figures.write()
    assert path.stat().st_mtime_ns == stamp
