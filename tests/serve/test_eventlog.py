"""The contract of a log, for each of its stores: order, keys, durability, erasure, several processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.served import Redis
from shortlist.core.errors import ConfigError
from shortlist.serve.eventlog.contract import Entry, EventLog, LogError, Stored
from shortlist.serve.eventlog.open import folder_of, open_log
from shortlist.serve.eventlog.sqlite import SqliteLog
from shortlist.serve.eventlog.writer import Writer


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    """A running server; skipped loudly where Redis is not installed."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed: apt-get install redis-server")
    server = Redis(tmp_path)
    yield server
    server.kill()


@pytest.fixture(params=["sqlite", "redis"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a new log may be."""
    if request.param == "sqlite":
        return f"sqlite:{tmp_path / 'events.log'}"
    server: Redis = request.getfixturevalue("redis")
    return server.address


@pytest.fixture
def log(address: str) -> Iterator[EventLog]:
    """A new log."""
    made = open_log(address)
    yield made
    made.close()


def test_positions_are_dense_and_in_order(log: EventLog) -> None:
    assert log.last() == 0
    assert log.read(0, 10) == []
    assert [ack.position for ack in log.append([Entry(1, b"a"), Entry(2, b"b")])] == [1, 2]
    assert [ack.position for ack in log.append([Entry(1, b"c")])] == [3]
    assert log.last() == 3
    assert [(each.position, each.kind, each.body) for each in log.read(0, 10)] == [
        (1, 1, b"a"),
        (2, 2, b"b"),
        (3, 1, b"c"),
    ]
    assert [each.body for each in log.read(1, 1)] == [b"b"]
    assert [each.body for each in log.read(0, 10, (1,))] == [b"a", b"c"]
    assert [each.body for each in log.read(0, 1, (2,))] == [b"b"]
    assert log.read(3, 10) == []


def test_a_key_is_taken_once(log: EventLog) -> None:
    """The same batch again is found; another batch under the key is refused, and what came with it is not."""
    first = log.append([Entry(1, b"a", "k")])[0]
    again = log.append([Entry(1, b"a", "k")])[0]
    assert (again.position, again.duplicate, again.problem) == (first.position, True, "")
    other = log.append([Entry(1, b"x"), Entry(1, b"b", "k"), Entry(1, b"y", "l"), Entry(1, b"y", "l")])
    assert [bool(ack.problem) for ack in other] == [False, True, False, False]
    assert other[3] == (other[2].position, True, "")
    assert [each.body for each in log.read(0, 10)] == [b"a", b"x", b"y"]


def test_an_answer_is_found_by_its_id(log: EventLog) -> None:
    log.append([Entry(2, b"a", request="r1"), Entry(2, b"b", request="r2")])
    found = log.find("r2")
    assert found is not None
    assert found.body == b"b"
    assert log.find("r3") is None


def test_it_is_there_after_opening_again(address: str) -> None:
    log = open_log(address)
    word = log.meta("clock", lambda: "one")
    log.append([Entry(1, b"a", "k", "r")])
    log.close()
    log = open_log(address)
    assert log.last() == 1
    assert log.meta("clock", lambda: "two") == word == "one"
    assert log.append([Entry(1, b"a", "k")])[0].duplicate
    log.close()


def test_what_is_rewritten_is_gone(log: EventLog, tmp_path: Path) -> None:
    """Positions stay, and no file of the store holds the old bytes."""
    secret = b"somebody-who-wants-to-be-forgotten"
    log.append([Entry(1, b"%s %d" % (secret if i % 2 else b"anybody", i), f"k{i}") for i in range(50)])

    def change(entry: Stored) -> bytes | None:
        return b"" if secret in entry.body else None

    assert log.rewrite(change, log.last()) == 25
    assert [each.body for each in log.read(0, 3)] == [b"anybody 0", b"", b"anybody 2"]
    assert [each.position for each in log.read(0, 100)] == list(range(1, 51))
    assert [each.position for each in log.read(10, 5)] == [11, 12, 13, 14, 15]
    assert log.append([Entry(1, b"again", "k1")])[0] == (2, True, "")
    deadline = time.monotonic() + 10
    while any(secret in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()):
        assert time.monotonic() < deadline, "the old bytes are still in a file"
        time.sleep(0.05)


def test_writers_in_many_threads(log: EventLog) -> None:
    """Every entry once; each thread's own in its order; a reader meanwhile never sees a gap."""
    writer = Writer(log)

    def write(name: int) -> None:
        for i in range(50):
            writer.append(Entry(1, b"%d %d" % (name, i), f"{name}-{i}"))

    threads = [threading.Thread(target=write, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    seen = 0
    while any(thread.is_alive() for thread in threads):
        last = log.last()
        found = log.read(seen, 1000)
        assert [each.position for each in found] == list(range(seen + 1, seen + 1 + len(found)))
        seen += len(found)
        assert seen >= last
    for thread in threads:
        thread.join()
    bodies = [each.body for each in log.read(0, 1000)]
    assert len(bodies) == len(set(bodies)) == 400
    for name in range(8):
        own = [int(body.split()[1]) for body in bodies if body.startswith(b"%d " % name)]
        assert own == list(range(50))
    writer.close()


PROCESS = """
import sys
from shortlist.serve.eventlog.contract import Entry
from shortlist.serve.eventlog.open import open_log
log = open_log(sys.argv[1])
for i in range(1000):
    ack = log.append([Entry(1, f"{sys.argv[2]} {i}".encode(), f"{sys.argv[2]} {i}")])[0]
    print(ack.position, sys.argv[2], i, flush=True)
"""


def test_what_was_acknowledged_survives_kill(address: str) -> None:
    """Three processes write and are killed; every position that they were told of holds their entry, once."""
    command = [sys.executable, "-c", PROCESS, address]
    writers = [subprocess.Popen([*command, str(name)], stdout=subprocess.PIPE, text=True) for name in range(3)]
    for writer in writers:
        assert writer.stdout is not None
        writer.stdout.readline()
    time.sleep(0.3)
    told = []
    for writer in writers:
        writer.kill()
        assert writer.stdout is not None
        told += writer.stdout.read().splitlines()
        writer.stdout.close()
        writer.wait()
    log = open_log(address)
    held = {each.position: each.body.decode() for each in log.read(0, 10_000)}
    assert len(held) == len(set(held.values())) == log.last() >= len(told) > 3
    for line in told:
        position, _, entry = line.partition(" ")
        assert held[int(position)] == entry
    log.close()


def test_redis_killed_and_started_again(redis: Redis) -> None:
    """What it acknowledged is there; while it is away there is one clear error, and then all goes on."""
    log = open_log(redis.address)
    log.append([Entry(1, b"%d" % i, f"k{i}") for i in range(100)])
    redis.kill()
    with pytest.raises(LogError, match=rf"redis 127.0.0.1:{redis.port}/test: "):
        log.append([Entry(1, b"lost?", "lost")])
    redis.start()
    assert log.last() == 100
    assert log.append([Entry(1, b"99", "k99")])[0] == (100, True, "")
    assert log.append([Entry(1, b"lost?", "lost")])[0].position == 101
    log.close()


def test_redis_that_forgets_is_refused(tmp_path: Path) -> None:
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed: apt-get install redis-server")
    server = Redis(tmp_path, "--appendfsync", "everysec")
    try:
        with pytest.raises(ConfigError, match="appendfsync=everysec: an acknowledged event could be lost"):
            open_log(server.address)
        log = open_log(server.address + "&fsync=everysec")
        assert log.append([Entry(1, b"a")])[0].position == 1
        log.close()
    finally:
        server.kill()


@pytest.mark.parametrize("text", ["", "sqlite", "sqlite:", "postgres://x", "events.log"])
def test_an_address_that_is_none(text: str) -> None:
    with pytest.raises(ConfigError, match=r"is no address of a log; choices: sqlite:PATH, redis://"):
        open_log(text)


def test_a_file_that_is_no_log(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database, and long enough to look at" * 50)
    with pytest.raises(LogError, match=r"notes\.txt: file is not a database"):
        open_log(f"sqlite:{tmp_path / 'notes.txt'}")
    (tmp_path / "folder").mkdir()
    with pytest.raises(LogError, match="unable to open database file"):
        open_log(f"sqlite:{tmp_path / 'folder'}")


def test_snapshots_belong_beside_the_log() -> None:
    assert folder_of("sqlite:/var/lib/events.log") == Path("/var/lib/events.log.d")
    assert folder_of("redis://:secret@host:6379/0?name=shop") == Path("shortlist-host-6379-0-name-shop.d")


def test_a_full_disk_refuses_and_keeps() -> None:
    """What was acknowledged is there, the refused is not, and when there is room again all goes on."""
    log = SqliteLog(Path(os.devnull).parent / "shm" / f"shortlist-full-{os.getpid()}.log")
    try:
        log.append([Entry(1, b"a" * 1000, "first")])
        # A bound on the file's pages is what a full disk looks like to SQLite.
        pages = log._writer.execute("PRAGMA page_count").fetchone()[0]
        log._writer.execute(f"PRAGMA max_page_count={pages + 2}")
        with pytest.raises(LogError, match="database or disk is full"):
            log.append([Entry(1, bytes([i]) * 4000, f"big {i}") for i in range(20)])
        assert log.last() == 1
        log._writer.execute("PRAGMA max_page_count=1000000")
        assert log.append([Entry(1, b"b", "second")])[0].position == 2
        assert [each.body[:1] for each in log.read(0, 10)] == [b"a", b"b"]
    finally:
        log.close()
        for left in log.path.parent.glob(log.path.name + "*"):
            left.unlink()


def test_a_waiting_writer_is_bounded(log: EventLog) -> None:
    """Entries that nobody waits for are dropped and counted; those that somebody waits for are refused."""
    writer = Writer(log, room=0)
    assert not writer.put(Entry(2, b"a"))
    assert writer.dropped == 1
    with pytest.raises(LogError, match="too many entries wait"):
        writer.append(Entry(1, b"b"))
    assert writer.dropped == 1
    writer.close()
    assert log.last() == 0


def test_a_writer_says_what_the_log_says(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "events.log")
    writer = Writer(log)
    log._writer.close()
    with pytest.raises(LogError, match="closed database"):
        writer.append(Entry(1, b"a"))
    assert writer.put(Entry(2, b"b"))
    writer.flush()
    assert writer.dropped == 1
    writer.close()
    log._reader.close()
