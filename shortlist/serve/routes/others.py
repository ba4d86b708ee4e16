"""Other questions: given items in order, items like one, and why an answer is as it is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from fastapi import Request

from shortlist.serve import wire
from shortlist.serve.engine import REQUEST
from shortlist.serve.http import Refused, Routes, identifier
from shortlist.serve.told import LONGEST

if TYPE_CHECKING:
    from shortlist.serve.app import App

SHARED = ("user_id", "k", "surface", "time", "deadline_ms")
RANK = (*SHARED, "items")
SIMILAR = (*SHARED, "item_id", "exclude", "filter")


def add(routes: Routes, app: App) -> None:
    """POST /v1/rank, POST /v1/similar, GET /v1/requests/{request_id}/trace."""
    service = app.service
    names = list(dict.fromkeys(name for engine in service.engines.values() for name in engine.context))
    kinds, words = service.vocabulary()
    types = wire.bodies(kinds, names, words, service.engines)

    def asked(body: Any, fields: tuple[str, ...]) -> dict[str, Any]:
        made = {name: value for name in fields if (value := getattr(body, name)) is not None}
        if body.context is not None:
            given = {name: getattr(body.context, identifier(name)) for name in names}
            made["context"] = {name: value for name, value in given.items() if value is not None}
        return made if body.shown else {**made, "shown": False}

    async def rank(request: Request, body: Any) -> Any:
        """The given items in the order of the ranker for this user, at most `k`, all when not given. `left_out` has the others: those that a filter
        drops, that nobody knows, and that come after the k-th, with the reason. It is logged as shown, as a recommendation is; with `shown` false it
        is logged, and no impression."""
        since = time.perf_counter()
        app.check()
        wanted = asked(body, RANK)
        return await app.line.run(lambda: service.rank(wanted, since))

    async def similar(request: Request, body: Any) -> Any:
        """Items like one, best first: what the sources find for somebody who has met that item alone. Of an item that nobody knows, none. `user_id`
        says who sees them, for the log."""
        since = time.perf_counter()
        app.check()
        wanted = asked(body, SIMILAR)
        return await app.line.run(lambda: service.similar(wanted, since))

    async def trace(request: Request) -> dict[str, Any]:
        """Why an answer is as it is: every shown item with its sources, ranks and scores; with `item_id`, why that item is in it, or why not:
        missed by the sources, dropped by which filter, or at which place it was ranked. Kept for the newest answers of each worker."""
        app.check()
        name = request.path_params["request_id"]
        found = service.traces.find(name) if service.traces is not None else None
        if found is None:
            raise Refused(404, f"no trace of request {name[:80]!r}: not answered by this machine, or too long ago")
        engine = next((one for _, one in service.swap.engines() if one.name == found.bundle), None)
        if engine is None or engine.epoch != found.epoch:
            raise Refused(
                404, f"no trace of request {name[:80]!r}: its bundle {found.bundle} is gone, or users were erased since"
            )
        ids, told = engine.catalogue.items.ids, found.trace()
        filters = [*engine.pipeline.filters, REQUEST]
        about = {"request_id": name, "surface": found.surface, "bundle": found.bundle, "request": found.request}
        item = request.query_params.get("item_id")
        if item is None:
            shown = [{"item_id": ids.name(code), **told.why(code, filters)} for code in found.shown().tolist()]
            assert told.pool is not None
            assert told.dropped is not None
            assert told.ranked is not None
            funnel = {
                "found": told.pool.m,
                "dropped": int((told.dropped >= 0).sum()),
                "ranked": told.ranked.m,
                "shown": len(shown),
            }
            return {**about, "funnel": funnel, "items": shown}
        code = ids.code(item)
        why = {"found": False, "reason": "unknown item"} if code < 0 else told.why(code, filters)
        return {**about, "items": [{"item_id": item, **why}]}

    busy: dict[str, Any] = {"scope": "read", "errors": (429, 503)}
    routes.add(
        "POST", "/v1/rank", rank, name="rank", summary="Given items in order", body=types["Rank"], answer=wire.Ranked, **busy
    )  # fmt: skip
    routes.add(
        "POST", "/v1/similar", similar, name="similar", summary="Items like one", body=types["Similar"], answer=wire.Alike, **busy
    )  # fmt: skip
    text = {"type": "string", "minLength": 1, "maxLength": LONGEST}
    routes.add(
        "GET", "/v1/requests/{request_id}/trace", trace, scope="read", name="trace", summary="Why an answer is as it is",
        answer=dict[str, Any], errors=(404, 503),
        parameters=[
            {"name": "request_id", "in": "path", "required": True, "schema": text},
            {"name": "item_id", "in": "query", "required": False, "schema": text},
        ],
    )  # fmt: skip
