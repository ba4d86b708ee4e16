"""Users: their attributes, what is known of them, and its erasure."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np
from fastapi import Request

from shortlist.core.errors import DataError
from shortlist.data import upsert
from shortlist.serve import entry, wire
from shortlist.serve.eventlog.codec import encode
from shortlist.serve.eventlog.contract import Entry
from shortlist.serve.http import Routes
from shortlist.serve.told import LONGEST, is_id, usable

if TYPE_CHECKING:
    from shortlist.serve.app import App

HISTORY = 100  # newest events that are told


def named(request: Request) -> str:
    """The user of the path. DataError for what cannot be an id."""
    name: str = request.path_params["user_id"]
    if not 1 <= len(name) <= LONGEST:
        raise DataError(f"user_id: must have 1 to {LONGEST} letters, not {len(name)}")
    return name


def add(routes: Routes, app: App) -> None:
    """PUT /v1/users, GET and DELETE /v1/users/{user_id}."""
    service = app.service

    async def put(request: Request, body: wire.Rows) -> wire.Changed:
        """New users, or new attributes of known ones, all or none: `{"rows": [{"user_id", ...attributes}]}`. Columns that a row does not
        name keep their value. A user need not be put before the first request or event."""
        app.check()
        tables = [each.users for each in service.catalogues()]
        rows = []
        for i, row in enumerate(body.rows):
            own = dict(row)
            name = own.pop("user_id", None)
            if not is_id(name):
                raise DataError(f"rows[{i}]: user_id must be an id, not {str(name)[:80]!r}")
            usable(name, [table.ids for table in tables], f"rows[{i}]: user_id")
            rows.append({"user_id": name, **upsert.checked(tables, own, f"rows[{i}]")})
        ack = await app.append(Entry(entry.USERS, encode(entry.Rows(rows, service.now()))))
        return wire.Changed(len(rows), ack.position)

    async def get(request: Request) -> wire.User:
        """What the bundle of a surface, or of the first, knows of a user: attributes, and the newest events of the history. Of one whom nobody
        knows, nothing is."""
        app.check()
        engine = service.engine(request.query_params.get("surface"))
        engine.catch_up()
        name = named(request)
        users = engine.catalogue.users
        code = users.ids.code(name)
        if code < 0:
            return wire.User(name, False, {}, [])
        past = engine.state.history(np.array([code], dtype=np.int32), HISTORY)
        items = engine.catalogue.items.ids.names(past.items).to_list()
        kinds = engine.catalogue.kinds.names(past.kinds).to_list()
        values = [None if value != value else value for value in past.values.tolist()]
        did = [wire.Did(*each) for each in zip(items, kinds, past.times.tolist(), values, strict=True)]
        return wire.User(users.ids.name(code), True, upsert.row(users, code), did[::-1])

    async def delete(request: Request) -> wire.Erased:
        """Erases a user: events, attributes, answers, snapshots, traces. When the answer comes, no file of the log names them; every worker
        forgets them with its next answer. What the bundle learned goes when it is fitted again."""
        app.check()
        name = named(request)
        fitted = service.fitted_with(name)
        position = await asyncio.get_running_loop().run_in_executor(None, service.erase, name)
        return wire.Erased(True, fitted, position)

    about = [{
        "name": "user_id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST},
    }]  # fmt: skip
    path = "/v1/users/{user_id:path}"
    routes.add(
        "GET", path, get, scope="read", name="get_user", summary="What is known of a user", answer=wire.User, errors=(422, 503),
        parameters=[*about, {"name": "surface", "in": "query", "required": False, "schema": {"enum": list(service.engines)}}],
    )  # fmt: skip
    routes.add(
        "DELETE", path, delete, scope="write", name="erase_user", summary="Erase a user", answer=wire.Erased,
        errors=(422, 429, 503), parameters=about,
    )  # fmt: skip
    routes.add(
        "PUT", "/v1/users", put, scope="write", name="put_users", summary="New or changed users", body=wire.Rows,
        answer=wire.Changed, errors=(429, 503),
    )  # fmt: skip
