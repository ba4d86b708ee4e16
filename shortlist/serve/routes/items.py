"""Items: new ones, changed ones, and those that must not be shown any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import Request

from shortlist.core.errors import DataError
from shortlist.data import upsert
from shortlist.serve import entry, wire
from shortlist.serve.eventlog.codec import encode
from shortlist.serve.eventlog.contract import Entry
from shortlist.serve.fold import DATES
from shortlist.serve.http import Routes
from shortlist.serve.told import is_id, usable

if TYPE_CHECKING:
    from shortlist.serve.app import App


def add(routes: Routes, app: App) -> None:
    """PUT and DELETE /v1/items."""
    service = app.service

    async def put(request: Request, body: wire.Rows) -> wire.Changed:
        """New items, or new attributes of known ones, all or none: `{"rows": [{"item_id", ...attributes}]}`. Columns that a row does not
        name keep their value. A new item can be recommended from the next request on, one without `available_from` from now on."""
        app.check()
        tables = [each.items for each in service.catalogues()]
        rows = []
        for i, row in enumerate(body.rows):
            own = dict(row)
            name = own.pop("item_id", None)
            if not is_id(name):
                raise DataError(f"rows[{i}]: item_id must be an id, not {str(name)[:80]!r}")
            usable(name, [table.ids for table in tables], f"rows[{i}]: item_id")
            rows.append({"item_id": name, **upsert.checked(tables, own, f"rows[{i}]", DATES)})
        content = entry.Rows(rows, service.now())
        ack = await app.append(Entry(entry.ITEMS, encode(content)))
        return wire.Changed(len(rows), ack.position)

    async def delete(request: Request, body: wire.ItemIds) -> wire.Changed:
        """These items are not shown any more, from the next request on, until they are put again. One that nobody knows is no error."""
        app.check()
        ids = [each.items.ids for each in service.catalogues()]
        for i, name in enumerate(body.item_ids):
            usable(name, ids, f"item_ids[{i}]")
        ack = await app.append(Entry(entry.ITEMS_GONE, encode(entry.Gone(list(body.item_ids), service.now()))))
        return wire.Changed(len(body.item_ids), ack.position)

    shared: dict[str, Any] = {"scope": "write", "answer": wire.Changed, "errors": (429, 503)}
    routes.add("PUT", "/v1/items", put, name="put_items", summary="New or changed items", body=wire.Rows, **shared)
    routes.add("DELETE", "/v1/items", delete, name="delete_items", summary="Items that go", body=wire.ItemIds, **shared)
