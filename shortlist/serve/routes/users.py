"""Users: their attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import Request

from shortlist.core.errors import DataError
from shortlist.data import upsert
from shortlist.serve import entry, wire
from shortlist.serve.eventlog.codec import encode
from shortlist.serve.eventlog.contract import Entry
from shortlist.serve.http import Routes
from shortlist.serve.told import is_id, usable

if TYPE_CHECKING:
    from shortlist.serve.app import App


def add(routes: Routes, app: App) -> None:
    """PUT /v1/users."""
    service = app.service

    async def put(request: Request, body: wire.Rows) -> wire.Changed:
        """New users, or new attributes of known ones, all or none: `{"rows": [{"user_id", ...attributes}]}`. Columns that a row does not
        name keep their value. A user need not be put before the first request or event."""
        app.check()
        table = service.engine(None).catalogue.users
        rows = []
        for i, row in enumerate(body.rows):
            own = dict(row)
            name = own.pop("user_id", None)
            if not is_id(name):
                raise DataError(f"rows[{i}]: user_id must be an id, not {str(name)[:80]!r}")
            usable(name, table.ids, f"rows[{i}]: user_id")
            rows.append({"user_id": name, **upsert.checked(table, own, f"rows[{i}]")})
        ack = await app.append(Entry(entry.USERS, encode(entry.Rows(rows, service.now()))))
        return wire.Changed(len(rows), ack.position)

    routes.add(
        "PUT", "/v1/users", put, scope="write", name="put_users", summary="New or changed users", body=wire.Rows,
        answer=wire.Changed, errors=(429, 503),
    )  # fmt: skip
