"""`kill -9` under load, the short version: see bench/crash.py for fifty times."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench.crash import crash


def test_killed_and_started_again(shop: Path, tmp_path: Path) -> None:
    """All at once, all again, and one worker alone: nothing acknowledged is lost, nothing is twice, every state is its replay's."""
    found = crash(shop, "sqlite", tmp_path, times=3, seconds=1.0, say=lambda line: None)
    assert found["batches"] > 20
    assert found["answers"] > 20
    assert found["snapshots kept"] > 0


def test_redis_killed_too(shop: Path, tmp_path: Path) -> None:
    """The service, then the Redis that holds its log."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed: apt-get install redis-server")
    found = crash(shop, "redis", tmp_path, times=2, workers=1, seconds=0.6, say=lambda line: None)
    assert found["kills"] == {"all": 1, "redis": 1}
    assert found["batches"] > 10
    assert found["sent again"] > 0
