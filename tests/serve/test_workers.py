"""Workers that are not warm yet meet nobody while another one can answer."""

import os
import signal
import threading
import time
from pathlib import Path

import httpx

from bench.served import Command


def test_no_request_meets_a_cold_worker(shop: Path, tmp_path: Path) -> None:
    """From the first green /readyz on every request is answered, also when a worker is killed and started again."""
    command = Command(shop, f"sqlite:{tmp_path / 'events.log'}", workers=2)
    starting = threading.Thread(target=command.start, args=(120,))
    starting.start()
    try:
        until = time.monotonic() + 120  # what a very busy machine may take
        while green(command) != 200:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert [asked(command) for _ in range(10)] == [200] * 10
        starting.join(120)
        assert len(workers(command)) == 2
        os.kill(workers(command)[1], signal.SIGKILL)
        time.sleep(0.1)  # what it was at is lost with it
        codes: list[int] = []
        until = time.monotonic() + 120
        while len(codes) < 40 or len(workers(command)) < 2:
            codes.append(asked(command))
            assert time.monotonic() < until
            time.sleep(0.05)
        assert set(codes) == {200}
    finally:
        starting.join(120)
        assert command.stop() == 0


def test_a_quick_worker_waits_for_a_slow_first_one(shop: Path, tmp_path: Path) -> None:
    """The first worker takes connections while it is cold, to say so: were another one green before it, requests would meet the first."""
    command = Command(shop, f"sqlite:{tmp_path / 'events.log'}", workers=2)
    starting = threading.Thread(target=command.start, args=(120,))
    starting.start()
    try:
        until = time.monotonic() + 120
        while command.process is None or not (first := workers(command)[:1]):
            assert time.monotonic() < until
            time.sleep(0.01)
        os.kill(first[0], signal.SIGSTOP)
        try:
            spent, idle = -1.0, 0
            while len(workers(command)) < 2 or idle < 4:  # until the second one does nothing any more
                time.sleep(0.5)
                now = sum(ticks(number) for number in workers(command)[1:])
                spent, idle = now, idle + 1 if now == spent and now > 0 else 0
                assert time.monotonic() < until
            assert green(command) == 0
        finally:
            os.kill(first[0], signal.SIGCONT)
        while green(command) != 200:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert [asked(command) for _ in range(10)] == [200] * 10
    finally:
        starting.join(120)
        assert command.stop() == 0


def workers(command: Command) -> list[int]:
    """Its workers, the oldest first."""
    return sorted(number for number in command.children() if b"serve.worker" in line(number))


def ticks(number: int) -> float:
    """What a process has had of a processor, in ticks."""
    words = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    return float(words[11]) + float(words[12])


def green(command: Command) -> int:
    """The status of /readyz; 0 while nobody is there."""
    try:
        return httpx.get(f"{command.url}/readyz", timeout=2).status_code
    except httpx.TransportError:
        return 0


def asked(command: Command) -> int:
    """The status of an answer, on a connection of its own."""
    return httpx.post(f"{command.url}/v1/recommend", json={"user_id": "u00003", "k": 3}, timeout=20).status_code


def line(number: int) -> bytes:
    """A process's command line; empty where it is gone."""
    try:
        return Path(f"/proc/{number}/cmdline").read_bytes()
    except OSError:
        return b""
