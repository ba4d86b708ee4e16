"""`kill -9` under load, the short version: see bench/crash.py for fifty times."""

from __future__ import annotations

from pathlib import Path

from bench.crash import crash


def test_killed_and_started_again(shop: Path, tmp_path: Path) -> None:
    """All at once, all again, and one worker alone: nothing acknowledged is lost, nothing is twice, every state is its replay's."""
    found = crash(shop, f"sqlite:{tmp_path / 'events.log'}", times=3, seconds=1.0, say=lambda line: None)
    assert found["batches"] > 20
    assert found["answers"] > 20
    assert found["snapshots kept"] > 0
