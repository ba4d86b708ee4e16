"""Services for tests, in a thread of this process."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from shortlist.serve.app import App, create
from shortlist.serve.service import Service
from shortlist.serve.settings import Settings


def opened(shop: Path, log: str, **options: Any) -> Service:
    """A service on a bundle, caught up and warm."""
    service = Service.open(Settings({"default": str(shop)}, log, verify=False, warm=4, **options))
    service.start()
    return service


@contextmanager
def serving(service: Service, prepare: Callable[[], None] | None = None) -> Iterator[httpx.Client]:
    """A client of an application that answers on a free port of its own."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create(App(service), prepare), log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=30) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
