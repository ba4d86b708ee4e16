"""Clients of a service, for Python programs: `Client` for plain code, `AsyncClient` for asyncio; the same methods, the same types.

    with Client("http://localhost:8000", key="sl_...") as shop:
        answer = shop.recommend("ann", k=5)
        shop.track([Event("ann", answer.items[0].item_id, "click", request_id=answer.request_id)])

Both keep connections open. What may be asked again is asked again: events go under an idempotency key of their own, so that a batch whose answer was lost
is taken in once; a busy service (429, 503) is given the time that it asks for.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any

from shortlist.core.errors import ShortlistError
from shortlist.core.extras import need

if TYPE_CHECKING:
    import httpx

Id = str | int
AGAIN = (429, 502, 503, 504)  # statuses after which it is worth asking again
BATCH = 1000  # events that a service takes at a time


class ServiceError(ShortlistError):
    """The service refused, or did not answer. status: of HTTP, 0 where there was no answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Item:
    """An item of an answer. propensity: its probability at its place, where a rule explores; why: where it was asked for; sources: of `similar`."""

    item_id: Id
    score: float | None = None
    propensity: float | None = None
    why: dict[str, Any] | None = None
    sources: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Answer:
    """See the service's own description. cursor: asks for the next page; None at the end. left_out: of `rank`, why the other items are not in it."""

    request_id: str
    items: list[Item]
    bundle: str
    variant: str = ""
    cursor: str | None = None
    degraded: list[str] = field(default_factory=list)
    took_ms: float = 0.0
    left_out: dict[Id, str] = field(default_factory=dict)

    @property
    def ids(self) -> list[Id]:
        """The items' ids, best first."""
        return [item.item_id for item in self.items]


@dataclass(frozen=True)
class Event:
    """What a user did. time: unix seconds or an ISO date-time, now when not given; request_id, position: of the answer that it belongs to."""

    user_id: Id
    item_id: Id
    event: str | None = None
    time: int | str | None = None
    value: float | None = None
    request_id: str | None = None
    position: int | None = None
    context: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Accepted:
    """accepted: how many events are durable now (0 for a batch that was there already); token: hand it to a later `recommend`."""

    accepted: int
    duplicate: bool
    token: int


class _Shared:
    """What both clients know: how a request is written, when it is asked again, how an answer is read."""

    def __init__(self, url: str, key: str, timeout: float, tries: int) -> None:
        self._httpx = need("httpx", "client", "the client")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._options: dict[str, Any] = {"base_url": url, "headers": headers, "timeout": timeout}
        self.tries = max(tries, 1)

    def _pauses(self) -> Iterator[float]:
        """Seconds before each further try: doubled, and strewn, so that not all come back at once."""
        for i in range(self.tries - 1):
            yield 0.05 * 2**i * (1 + random.random())

    def _read(self, response: httpx.Response) -> Any:
        """The body of an answer, or ServiceError with the one line that the service says."""
        try:
            body = response.json()
        except ValueError:
            body = {}
        if response.status_code >= 400:
            said = body.get("error") if isinstance(body, dict) else None
            raise ServiceError(response.status_code, f"{response.status_code}: {said or response.reason_phrase}")
        return body

    @staticmethod
    def _wait(response: httpx.Response | None, pause: float) -> float:
        """As long as the service asks for, at most five seconds."""
        asked = response.headers.get("retry-after", "") if response is not None else ""
        return min(max(pause, float(asked) if asked.isdecimal() else 0.0), 5.0)

    @staticmethod
    def _asked(user_id: Id | None, options: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in {"user_id": user_id, **options}.items() if value is not None}

    @staticmethod
    def _answer(body: Mapping[str, Any]) -> Answer:
        known = Answer.__dataclass_fields__
        items = [Item(**{name: value for name, value in item.items() if name in Item.__dataclass_fields__}) for item in body["items"]]  # fmt: skip
        left_out = {each["item_id"]: each["reason"] for each in body.get("left_out", ())}
        own = {name: value for name, value in body.items() if name in known}
        return Answer(**{**own, "items": items, "left_out": left_out})

    @staticmethod
    def _batches(events: Sequence[Event]) -> Iterator[dict[str, Any]]:
        """Bodies of at most so many events, each under a key of its own."""
        for start in range(0, len(events), BATCH):
            listed = [
                {name: value for name, value in asdict(event).items() if value is not None}
                for event in events[start : start + BATCH]
            ]
            yield {"events": listed, "key": secrets.token_hex(16)}

    @staticmethod
    def _added(parts: Sequence[Mapping[str, Any]]) -> Accepted:
        return Accepted(
            sum(part["accepted"] for part in parts),
            bool(parts) and all(part["duplicate"] for part in parts),
            max((part["token"] for part in parts), default=0),
        )


class Client(_Shared):
    """For plain code. url: of the service; key: an API key, "" where it asks for none; timeout: seconds of one try; tries: of one
    call. MissingExtra without the package httpx."""

    def __init__(self, url: str = "http://127.0.0.1:8000", key: str = "", timeout: float = 5.0, tries: int = 3) -> None:
        super().__init__(url, key, timeout, tries)
        self._http: httpx.Client = self._httpx.Client(**self._options)

    def recommend(self, user_id: Id | None = None, **options: Any) -> Answer:
        """Items for a user. options: k, surface, time, context, exclude, filter, cursor, explain, deadline_ms, token: as in the body of
        POST /v1/recommend. ServiceError where the service refuses."""
        return self._answer(self._call("POST", "/v1/recommend", self._asked(user_id, options)))

    def pages(self, user_id: Id | None = None, **options: Any) -> Iterator[Answer]:
        """One answer after another, never an item twice, until there is no more."""
        answer = self.recommend(user_id, **options)
        yield answer
        while answer.cursor:
            answer = self.recommend(user_id, **{**options, "cursor": answer.cursor})
            yield answer

    def rank(self, items: Sequence[Id], user_id: Id | None = None, **options: Any) -> Answer:
        """Given items in order for a user. options: k, surface, time, context, shown, deadline_ms."""
        return self._answer(self._call("POST", "/v1/rank", self._asked(user_id, {"items": list(items), **options})))

    def similar(self, item_id: Id, user_id: Id | None = None, **options: Any) -> Answer:
        """Items like one. user_id: who sees them; options: k, surface, time, context, exclude, filter, shown, deadline_ms."""
        return self._answer(self._call("POST", "/v1/similar", self._asked(user_id, {"item_id": item_id, **options})))

    def track(self, events: Sequence[Event]) -> Accepted:
        """Send events; when this returns they are durable, and the next answer knows them."""
        return self._added([self._call("POST", "/v1/events", body) for body in self._batches(events)])

    def put_items(self, rows: Sequence[Mapping[str, Any]]) -> int:
        """New or changed items: `{"item_id", ...attributes}`. Returns how many."""
        return int(self._call("PUT", "/v1/items", {"rows": [dict(row) for row in rows]})["changed"])

    def delete_items(self, item_ids: Sequence[Id]) -> int:
        """Items that must not be shown any more. Returns how many."""
        return int(self._call("DELETE", "/v1/items", {"item_ids": list(item_ids)})["changed"])

    def put_users(self, rows: Sequence[Mapping[str, Any]]) -> int:
        """New or changed users: `{"user_id", ...attributes}`. Returns how many."""
        return int(self._call("PUT", "/v1/users", {"rows": [dict(row) for row in rows]})["changed"])

    def ready(self) -> bool:
        """Is the worker that is asked ready?"""
        try:
            return self._http.get("/readyz").status_code == 200
        except self._httpx.TransportError:
            return False

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Any other route, by its path: the decoded body."""
        return self._call(method, path, body)

    def _call(self, method: str, path: str, body: Any) -> Any:
        pauses, response = self._pauses(), None
        while True:
            try:
                response = self._http.request(method, path, json=body)
                if response.status_code not in AGAIN:
                    return self._read(response)
            except self._httpx.TransportError as error:
                response, failed = None, error
            pause = next(pauses, None)
            if pause is None:
                if response is not None:
                    return self._read(response)
                raise ServiceError(0, f"{method} {path}: no answer: {type(failed).__name__}") from failed
            time.sleep(self._wait(response, pause))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class AsyncClient(_Shared):
    """For asyncio: see `Client`."""

    def __init__(self, url: str = "http://127.0.0.1:8000", key: str = "", timeout: float = 5.0, tries: int = 3) -> None:
        super().__init__(url, key, timeout, tries)
        self._http: httpx.AsyncClient = self._httpx.AsyncClient(**self._options)

    async def recommend(self, user_id: Id | None = None, **options: Any) -> Answer:
        """See `Client.recommend`."""
        return self._answer(await self._call("POST", "/v1/recommend", self._asked(user_id, options)))

    async def rank(self, items: Sequence[Id], user_id: Id | None = None, **options: Any) -> Answer:
        """See `Client.rank`."""
        body = self._asked(user_id, {"items": list(items), **options})
        return self._answer(await self._call("POST", "/v1/rank", body))

    async def similar(self, item_id: Id, user_id: Id | None = None, **options: Any) -> Answer:
        """See `Client.similar`."""
        body = self._asked(user_id, {"item_id": item_id, **options})
        return self._answer(await self._call("POST", "/v1/similar", body))

    async def track(self, events: Sequence[Event]) -> Accepted:
        """See `Client.track`. Batches go one after another: the order of events is kept."""
        return self._added([await self._call("POST", "/v1/events", body) for body in self._batches(events)])

    async def put_items(self, rows: Sequence[Mapping[str, Any]]) -> int:
        """See `Client.put_items`."""
        return int((await self._call("PUT", "/v1/items", {"rows": [dict(row) for row in rows]}))["changed"])

    async def delete_items(self, item_ids: Sequence[Id]) -> int:
        """See `Client.delete_items`."""
        return int((await self._call("DELETE", "/v1/items", {"item_ids": list(item_ids)}))["changed"])

    async def put_users(self, rows: Sequence[Mapping[str, Any]]) -> int:
        """See `Client.put_users`."""
        return int((await self._call("PUT", "/v1/users", {"rows": [dict(row) for row in rows]}))["changed"])

    async def ready(self) -> bool:
        """See `Client.ready`."""
        try:
            return (await self._http.get("/readyz")).status_code == 200
        except self._httpx.TransportError:
            return False

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """See `Client.call`."""
        return await self._call(method, path, body)

    async def _call(self, method: str, path: str, body: Any) -> Any:
        pauses, response = self._pauses(), None
        while True:
            try:
                response = await self._http.request(method, path, json=body)
                if response.status_code not in AGAIN:
                    return self._read(response)
            except self._httpx.TransportError as error:
                response, failed = None, error
            pause = next(pauses, None)
            if pause is None:
                if response is not None:
                    return self._read(response)
                raise ServiceError(0, f"{method} {path}: no answer: {type(failed).__name__}") from failed
            await asyncio.sleep(self._wait(response, pause))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()
