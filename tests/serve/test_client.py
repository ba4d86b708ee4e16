"""The clients: what they send, what they read, and what they ask again."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from shortlist.serve.client import Accepted, AsyncClient, Client, Event, ServiceError
from shortlist.serve.security import Keys
from tests.serve.live import opened, serving


@pytest.fixture
def url(shop: Path, tmp_path: Path) -> Iterator[str]:
    with serving(opened(shop, f"sqlite:{tmp_path / 'events.log'}")) as made:
        yield str(made.base_url)


def test_a_round(url: str) -> None:
    """Ask, click, ask again: the click is known. Pages never repeat an item."""
    with Client(url) as client:
        assert client.ready()
        answer = client.recommend("u00003", k=3, context={"device": "phone"})
        assert len(answer.ids) == 3
        assert answer.degraded == []
        told = client.track([Event("u00003", answer.ids[0], "click", request_id=answer.request_id, position=1)])
        assert (told.accepted, told.duplicate) == (1, False)
        assert answer.ids[0] not in client.recommend("u00003", k=50, token=told.token).ids
        pages = list(client.pages("u00003", k=20))
        ids = [item for page in pages for item in page.ids]
        assert len(ids) == len(set(ids)) > 20
        assert client.recommend("u00003", explain=True).items[0].why is not None
        item = {"item_id": "brand new", "category": "music"}
        assert client.put_items([item]) == 1
        assert client.delete_items(["brand new"]) == 1
        assert client.put_users([{"user_id": "ann", "country": "north"}]) == 1
        assert client.call("GET", "/healthz") == {"status": "ok"}
        assert client.track([]) == Accepted(0, False, 0)


def test_items_in_order_and_items_like_one(url: str) -> None:
    """The same with either client."""

    async def run() -> None:
        with Client(url) as client:
            async with AsyncClient(url) as other:
                shown = client.recommend("u00003", k=6).ids
                wanted = [*shown[::-1], "no such item"]
                one = client.rank(wanted, "u00003", k=4, deadline_ms=20_000)
                two = await other.rank(wanted, "u00003", k=4, deadline_ms=20_000)
                assert one.ids == two.ids == shown[:4]
                assert one.left_out == two.left_out
                assert one.left_out["no such item"] == "unknown item"
                assert set(one.left_out) == {*shown[4:], "no such item"}
                assert one.request_id != two.request_id
                alike = client.similar("i00010", k=5, deadline_ms=20_000)
                assert alike.ids == (await other.similar("i00010", k=5, deadline_ms=20_000)).ids
                assert len(alike.ids) == 5
                assert all(item.sources for item in alike.items)

    asyncio.run(run())


def test_the_same_with_asyncio(url: str) -> None:
    async def run() -> None:
        async with AsyncClient(url) as client:
            assert await client.ready()
            answers = await asyncio.gather(*(client.recommend(f"u{i:05}", k=4) for i in range(8)))
            assert all(len(answer.ids) == 4 for answer in answers)
            told = await client.track([Event("u00001", answers[1].ids[0], "click")] * 1500)
            assert told.accepted == 1500
            assert answers[1].ids[0] not in (await client.recommend("u00001", k=50)).ids

    asyncio.run(run())


def test_both_have_the_same_methods() -> None:
    """But for `pages`, and what is spelt otherwise for asyncio."""
    names = {name for name in vars(Client) if not name.startswith("_")} - {"pages"}
    assert names == {name for name in vars(AsyncClient) if not name.startswith("_")}
    for name in names:
        one, other = inspect.signature(getattr(Client, name)), inspect.signature(getattr(AsyncClient, name))
        assert one.parameters == other.parameters


def test_a_refusal_is_one_line(shop: Path, tmp_path: Path) -> None:
    """What the service says, with its status; the key is in no message."""
    key = Keys(tmp_path / "keys.json").make("shop", ["read"])[1]
    with serving(opened(shop, f"sqlite:{tmp_path / 'events.log'}", keys=str(tmp_path / "keys.json"))) as made:
        with Client(str(made.base_url), key=key) as client:
            client.recommend("u00003")
            with pytest.raises(ServiceError, match=r"422: body: .*k") as caught:
                client.recommend("u00003", k=-1)
            assert caught.value.status == 422
            with pytest.raises(
                ServiceError, match=r"403: key [0-9a-f]+ has the scopes read; this needs write"
            ) as caught:
                client.track([Event("u", "i", "click")])
            assert key not in str(caught.value)
        with Client(str(made.base_url)) as client, pytest.raises(ServiceError, match="401: no valid key"):
            client.recommend()


class Moody(BaseHTTPRequestHandler):
    """Busy twice, then takes the batch in; keeps what it was sent."""

    sent: list[bytes] = []  # noqa: RUF012
    statuses: list[int] = []  # noqa: RUF012

    def do_POST(self) -> None:
        """An answer with the next status; 0 closes the connection without one."""
        self.sent.append(self.rfile.read(int(self.headers["content-length"])))
        status = self.statuses.pop(0)
        if not status:
            self.close_connection = True
            return
        body = b'{"accepted": 1, "duplicate": false, "token": 7}' if status == 200 else b'{"error": "busy"}'
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Quietly."""


@pytest.fixture
def moody() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Moody)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    Moody.sent.clear()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_lost_answer_is_asked_again_under_the_same_key(moody: str) -> None:
    """Busy, then a broken connection, then well: three times the same bytes, so the service takes them in once."""
    Moody.statuses[:] = [503, 0, 200]
    with Client(moody) as client:
        assert client.track([Event("u", "i", "click")]).token == 7
    assert len(Moody.sent) == 3
    assert len(set(Moody.sent)) == 1
    assert b'"key"' in Moody.sent[0]

    async def run() -> None:
        Moody.statuses[:] = [429, 0, 200]
        async with AsyncClient(moody) as client:
            assert (await client.track([Event("u", "i", "click")])).token == 7

    asyncio.run(run())
    assert len(set(Moody.sent[3:])) == 1


def test_it_gives_up(moody: str) -> None:
    Moody.statuses[:] = [503, 503, 503]
    with Client(moody) as client, pytest.raises(ServiceError, match="503: busy"):
        client.track([Event("u", "i", "click")])
    with Client("http://127.0.0.1:9", tries=2) as client:
        assert not client.ready()
        with pytest.raises(ServiceError, match="POST /v1/recommend: no answer: ConnectError") as caught:
            client.recommend("u")
        assert caught.value.status == 0
        assert isinstance(caught.value.__cause__, httpx.ConnectError)
