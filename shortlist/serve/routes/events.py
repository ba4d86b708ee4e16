"""Events: what users did."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from fastapi import Request

from shortlist.core.errors import DataError
from shortlist.serve import entry, wire
from shortlist.serve.eventlog.codec import encode
from shortlist.serve.eventlog.contract import Entry
from shortlist.serve.http import Routes, identifier
from shortlist.serve.told import word

if TYPE_CHECKING:
    from shortlist.serve.app import App

KEY = re.compile(r"[!-~]{1,200}")
HEADER = {
    "name": "Idempotency-Key", "in": "header", "required": False,
    "description": "A name of the batch's own: sent again, it is not taken in again. The same as `key` of the body.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": r"^[!-~]+$"},
}  # fmt: skip


def add(routes: Routes, app: App) -> None:
    """POST /v1/events."""
    service = app.service
    names = list(dict.fromkeys(name for engine in service.engines.values() for name in engine.context))
    kinds, words = service.vocabulary()
    types = wire.bodies(kinds, names, words, service.engines)
    fields = {name: identifier(name) for name in dict.fromkeys([*words, *names])}

    def columns(events: list[Any]) -> entry.Events:
        """Structs as columns; not checked against the bundle yet."""
        context = {}
        for name, field in fields.items():
            values = [word(getattr(event, field)) for event in events]
            if any(value is not None for value in values):
                context[name] = values
        for i, event in enumerate(events):
            for name, value in (event.context or {}).items():
                if name not in fields:
                    raise DataError(f"events[{i}]: unknown context {name!r}; choices: {', '.join(fields) or 'none'}")
                context.setdefault(name, [None] * len(events))[i] = word(value)
        requests = [event.request_id for event in events]
        places = [event.position for event in events]
        return entry.Events(
            user_id=[event.user_id for event in events], item_id=[event.item_id for event in events],
            event=[event.event for event in events], time=[event.time for event in events], value=[event.value for event in events],
            context=context, request_id=requests if any(requests) else [],
            position=places if any(place is not None for place in places) else [],
        )  # fmt: skip

    async def events(request: Request, body: Any) -> Any:
        """Takes in a batch of events, all or none. When the answer comes they are durable, and the next answer of any worker knows them.
        `request_id` says to which answer an event belongs. A batch under an idempotency key can be sent again without harm."""
        app.check()
        header = request.headers.get("idempotency-key")
        if header is not None and (not KEY.fullmatch(header) or body.key not in (None, header)):
            raise DataError(
                "Idempotency-Key: must be 1 to 200 printable ASCII letters, and the body's key where that has one"
            )
        key = header or body.key or ""
        sent = columns(body.events)
        mark = encode(sent) if key else b""  # before times are filled in: sent again, they would be others
        content = service.told(sent)
        ack = await app.append(Entry(entry.EVENTS, encode(content), key, sent=mark))
        return wire.Accepted(0 if ack.duplicate else len(content.time), ack.duplicate, ack.position)

    routes.add(
        "POST", "/v1/events", events, scope="write", name="events", summary="What users did", body=types["Events"],
        answer=wire.Accepted, errors=(409, 429, 503), parameters=[HEADER],
    )  # fmt: skip
