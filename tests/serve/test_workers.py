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
        workers = [number for number in command.children() if b"serve.worker" in line(number)]
        assert len(workers) == 2
        os.kill(workers[1], signal.SIGKILL)
        time.sleep(0.1)  # what it was at is lost with it
        codes: list[int] = []
        until = time.monotonic() + 120
        while len(codes) < 40 or len([one for one in command.children() if b"serve.worker" in line(one)]) < 2:
            codes.append(asked(command))
            assert time.monotonic() < until
            time.sleep(0.05)
        assert set(codes) == {200}
    finally:
        starting.join(120)
        assert command.stop() == 0


def green(command: Command) -> int:
    """The status of /readyz; 0 while nobody is there."""
    try:
        return httpx.get(f"{command.url}/readyz", timeout=5).status_code
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
