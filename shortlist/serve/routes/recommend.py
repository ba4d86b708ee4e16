"""Answers: recommend."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from fastapi import Request

from shortlist.serve import wire
from shortlist.serve.http import Routes, identifier

if TYPE_CHECKING:
    from shortlist.serve.app import App

PLAIN = ("user_id", "k", "surface", "time", "exclude", "filter", "cursor", "token", "deadline_ms")


def add(routes: Routes, app: App) -> None:
    """POST /v1/recommend."""
    service = app.service
    names = list(dict.fromkeys(name for engine in service.engines.values() for name in engine.context))
    kinds, words = service.vocabulary()
    types = wire.bodies(kinds, names, words, service.engines)
    fields = [(name, identifier(name)) for name in names]

    async def recommend(request: Request, body: Any) -> Any:
        """Items for a user, best first. A user whom nobody knows, or none at all, is no error, nor is a list that is shorter than k.
        `exclude` and `filter` rule items out; `cursor` of the answer before asks for the next page, which never repeats an item. The answer comes by `deadline_ms`, and says in
        `degraded` what it had to do without. With `shown` false it is logged, and no impression: nobody will see it."""
        since = time.perf_counter()
        app.check()
        asked = {name: value for name in PLAIN if (value := getattr(body, name)) is not None}
        if body.context is not None:
            asked["context"] = {
                name: value for name, field in fields if (value := getattr(body.context, field)) is not None
            }
        if body.explain:
            asked["explain"] = True
        if not body.shown:
            asked["shown"] = False
        return await app.line.run(lambda: service.recommend(asked, since))

    routes.add(
        "POST", "/v1/recommend", recommend, scope="read", name="recommend", summary="Items for a user", body=types["Recommend"],
        answer=wire.Answer, errors=(429, 503),
    )  # fmt: skip
