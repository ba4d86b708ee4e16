"""Snapshots: restart from one and the log's tail gives the same state to the bit, and a writer that is killed leaves the old one in
force."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from shortlist.core.errors import BundleError
from shortlist.data.log import Log
from shortlist.state import snapshot
from shortlist.state.fold.decay import Decay
from shortlist.state.fold.follow import Follow
from shortlist.state.fold.rate import Rate
from shortlist.state.fold.session import Session
from shortlist.state.state import State
from tests.state.test_folds import arrays_of
from tests.state.toys import toy_catalogue, toy_events

USERS = 300


def fresh() -> State:
    """A state with hashed keys that overflow, lists, live neighbours and the user's last item."""
    folds = (
        Decay(("user", "item"), ("click",), ("1h", "1d")), Rate(("item.tags",), ("buy",), ("view",)), Session(), Follow(),
        Decay(("last", "item"), ("click",), ("1d",)),
    )  # fmt: skip
    return State(toy_catalogue(40, USERS), folds, history=9, keys=200)


LOG = Log(toy_events(6000, users=USERS, seed=9))


def fed(state: State, first: int, last: int) -> State:
    """Moved over a piece of the log."""
    state.apply(LOG.slice(first, last).columns)
    return state


@pytest.mark.parametrize("stop", [0, 1, 2500, 6000])
def test_a_restart_is_a_snapshot_and_the_tail(stop: int, tmp_path: Path) -> None:
    snapshot.save(fed(fresh(), 0, stop) if stop else fresh(), tmp_path)
    found = snapshot.newest(tmp_path)
    assert found is not None
    again = snapshot.load(found)
    assert again.count == stop
    assert arrays_of(fed(again, again.count, 6000) if stop < 6000 else again) == arrays_of(fed(fresh(), 0, 6000))


def test_the_newest_is_in_force_and_old_ones_go(tmp_path: Path) -> None:
    assert snapshot.newest(tmp_path / "not there") is None
    state = fresh()
    for stop in (1000, 2000, 3000, 4000):
        snapshot.save(fed(state, state.count, stop), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["at-000000000003000", "at-000000000004000"]
    assert snapshot.newest(tmp_path) == tmp_path / "at-000000000004000"


def test_the_same_position_twice(tmp_path: Path) -> None:
    state = fed(fresh(), 0, 500)
    assert snapshot.save(state, tmp_path) == snapshot.save(state, tmp_path)
    assert arrays_of(snapshot.load(tmp_path / "at-000000000000500")) == arrays_of(state)


def test_what_is_no_snapshot_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a snapshot: no file 'snapshot'"):
        snapshot.load(tmp_path)
    folder = snapshot.save(fed(fresh(), 0, 100), tmp_path)
    (folder / "catalogue" / "catalogue.json").write_text("{")
    with pytest.raises(BundleError, match="cannot be loaded"):
        snapshot.load(folder)


WRITER = """
import sys
from pathlib import Path
from shortlist.state import snapshot
from tests.state.test_snapshot import fed, fresh
root, state = Path(sys.argv[1]), fresh()
print("ready", flush=True)
while state.count < 6000:
    snapshot.save(fed(state, state.count, state.count + 20), root)
"""


@pytest.mark.parametrize("wait", [0.0, 0.013, 0.031, 0.05, 0.11, 0.17])
def test_a_killed_writer_leaves_the_old_one_in_force(wait: float, tmp_path: Path) -> None:
    """SIGKILL at some moment of an endless series of snapshots: the newest one is whole, and with the tail it is the whole log."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, env=environment)
    assert writer.stdout is not None
    writer.stdout.readline()
    while snapshot.newest(tmp_path) is None and writer.poll() is None:
        time.sleep(0.001)
    time.sleep(wait)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    found = snapshot.newest(tmp_path)
    assert found is not None
    again = snapshot.load(found)
    assert again.count == int(found.name.removeprefix("at-"))
    assert arrays_of(fed(again, again.count, 6000)) == arrays_of(fed(fresh(), 0, 6000))
    snapshot.save(again, tmp_path)
    assert not list(tmp_path.glob(".at-*")), "what the killed writer left behind is still there"


def test_a_half_written_folder_does_not_count(tmp_path: Path) -> None:
    """What a writer has under way has another name, and a folder without its marker is none."""
    good = snapshot.save(fed(fresh(), 0, 100), tmp_path)
    (tmp_path / ".at-000000000000900.x1").mkdir()
    (tmp_path / "at-000000000000900").mkdir()
    assert snapshot.newest(tmp_path) == good
    assert np.array_equal(
        snapshot.load(good).history(np.array([1], np.int32)).items,
        fed(fresh(), 0, 100).history(np.array([1], np.int32)).items,
    )
