"""Several bundles on one log: what any of them can hold is taken in, each folds what it can, and all are what a replay gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from bench.crash import replayed
from shortlist.data.dataset import from_frames
from shortlist.data.synthetic import START
from shortlist.experiment.fit import fit
from shortlist.pipeline.config import parse
from shortlist.serve.service import Service
from shortlist.serve.settings import Settings
from tests.serve.live import serving


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Books with whole numbers for ids, another kind of event, and a column `category` that is a number."""
    rows = range(120)
    events = pl.DataFrame({
        "user_id": [f"u{i % 9:05}" for i in rows], "item_id": [i * i % 23 for i in rows], "time": [START + 600 * i for i in rows],
        "event": ["read"] * 120, "place": [f"p{i % 3}" for i in rows],
    })  # fmt: skip
    items = pl.DataFrame(
        {"item_id": range(23), "category": [float(i) for i in range(23)], "topic": ["war", "peace"] * 11 + ["war"]}
    )
    tree = {
        "data": {"positive": ["read"]},
        "source": [{"type": "popular"}, {"type": "newest"}],
        "serve": {"deadline_ms": 20_000.0},
    }
    folder = tmp_path_factory.mktemp("surfaces") / "library"
    fit(parse(tree), from_frames(events, items)).save(folder)
    return folder


@pytest.fixture
def client(shop: Path, library: Path, tmp_path: Path) -> Iterator[httpx.Client]:
    """Of a shop with a library in it."""
    surfaces = {"default": str(shop), "library": str(library)}
    service = Service.open(Settings(surfaces, f"sqlite:{tmp_path / 'events.log'}", verify=False, warm=2))
    service.start()
    with serving(service) as made:
        yield made


def post(client: httpx.Client, path: str, status: int = 200, **body: Any) -> dict[str, Any]:
    """The answer."""
    response = client.request("PUT" if path == "/v1/items" else "POST", path, json=body)
    assert response.status_code == status, response.text
    made: dict[str, Any] = response.json()
    return made


def history(client: httpx.Client, user: str, surface: str) -> list[Any]:
    """Items that a surface knows of."""
    told = client.get(f"/v1/users/{user}", params={"surface": surface}).json()
    return [each["item_id"] for each in told["history"]]


def test_events_that_either_can_hold(client: httpx.Client, shop: Path, library: Path, tmp_path: Path) -> None:
    """Also in one batch; what neither can hold is refused with both reasons, and nothing of its batch is taken in."""
    bought = {"user_id": "ann", "item_id": "i00003", "event": "click"}
    read = {"user_id": "ann", "item_id": 7, "event": "read", "place": "p1"}
    assert post(client, "/v1/events", events=[bought, read])["accepted"] == 2
    assert history(client, "ann", "default") == ["i00003"]
    assert history(client, "ann", "library") == [7]
    error = post(client, "/v1/events", 422, events=[read, {"user_id": "ann", "item_id": "i00004", "event": "read"}])[
        "error"
    ]
    assert error.startswith("events[1]: unknown event 'read'; choices: ")
    assert "of another surface: item_id 'i00004' is text" in error
    assert history(client, "ann", "library") == [7]
    log = f"sqlite:{tmp_path / 'events.log'}"
    for surface, bundle in (("default", shop), ("library", library)):
        told = client.get("/v1/state", params={"surface": surface}).json()
        assert told["digest"] == replayed(bundle, log, told["position"])


def test_items_of_either(client: httpx.Client, shop: Path, library: Path, tmp_path: Path) -> None:
    """Columns of any bundle; each keeps what it has a column for, in its own way. Deleted is deleted for all."""
    changed = post(
        client,
        "/v1/items",
        rows=[{"item_id": "new", "category": "books"}, {"item_id": 900, "topic": "sea", "category": 5}],
    )
    assert changed["changed"] == 2

    def found(surface: str, **wanted: Any) -> list[Any]:
        made = post(client, "/v1/recommend", surface=surface, k=200, filter=wanted, deadline_ms=20_000)
        return [item["item_id"] for item in made["items"]]

    assert "new" in found("default", category="books")
    assert found("default", category=5) == ["900"]
    assert found("library", topic="sea") == [900]
    assert 900 in found("library", category={"min": 5, "max": 5})
    error = post(client, "/v1/items", 422, rows=[{"item_id": "x", "colour": "red"}])["error"]
    assert error.startswith("rows[0]: unknown column 'colour'; columns: ")
    assert {"category", "topic", "available_until"} <= set(error.partition("columns: ")[2].split(", "))
    assert (
        "rows[0]: topic: must be text" in post(client, "/v1/items", 422, rows=[{"item_id": "x", "topic": [1]}])["error"]
    )
    client.request("DELETE", "/v1/items", json={"item_ids": [900, "new"]})
    assert found("default", category=5) == found("library", topic="sea") == []
    log = f"sqlite:{tmp_path / 'events.log'}"
    for surface, bundle in (("default", shop), ("library", library)):
        told = client.get("/v1/state", params={"surface": surface}).json()
        assert told["digest"] == replayed(bundle, log, told["position"])
