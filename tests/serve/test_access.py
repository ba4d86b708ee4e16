"""Who is let in: without a key nobody, with the wrong one nobody, and no key is ever found in what the service writes."""

from __future__ import annotations

import io
import logging
import re
from pathlib import Path

import pytest
from httpx import Client

from shortlist.serve.security import Keys, Redact
from shortlist.serve.service import Service
from tests.serve.live import opened

CALLS = [
    ("POST", "/v1/recommend", "read"), ("POST", "/v1/events", "write"), ("PUT", "/v1/items", "write"), ("DELETE", "/v1/items", "write"),
    ("PUT", "/v1/users", "write"), ("GET", "/metrics", "read"), ("GET", "/v1/state", "admin"), ("GET", "/v1/users/{user_id}", "read"),
    ("DELETE", "/v1/users/{user_id}", "write"), ("POST", "/v1/rank", "read"), ("POST", "/v1/similar", "read"),
    ("GET", "/v1/requests/{request_id}/trace", "read"),
]  # fmt: skip
EVENT = {"user_id": "u00003", "item_id": "i00030", "event": "click"}


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, str]:
    """A key per scope."""
    file = Keys(tmp_path / "keys.json")
    return {scope: file.make(f"only {scope}", [scope])[1] for scope in ("read", "write", "admin")}


@pytest.fixture
def service(shop: Path, tmp_path: Path, keys: dict[str, str]) -> Service:
    return opened(shop, f"sqlite:{tmp_path / 'events.log'}", keys=str(tmp_path / "keys.json"))


def test_every_route_asks_for_its_scope(client: Client, keys: dict[str, str]) -> None:
    for method, path, scope in CALLS:
        for sent, expected in [
            ("", 401),
            ("sl_nonsense", 401),
            ("x" * 5000, 401),
            *((key, 0) for key in keys.values()),
        ]:
            headers = {"Authorization": f"Bearer {sent}"} if sent else {}
            response = client.request(method, re.sub(r"{\w+}", "nobody", path), headers=headers, content=b"{}")
            if expected == 401:
                assert response.status_code == 401, (path, response.text)
                assert response.headers["www-authenticate"] == "Bearer"
            elif sent == keys[scope]:
                assert response.status_code in (200, 404, 422), (path, response.text)
            else:
                assert response.status_code == 403, (path, response.text)
            assert not sent or sent not in response.text
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 200


def test_every_route_is_in_the_list(client: Client) -> None:
    """A new route must be tried here, too."""
    told = client.get("/openapi.json").json()["paths"]
    listed = {(method, path) for method, path, _ in CALLS}
    for path, methods in told.items():
        for method, about in methods.items():
            guarded = "401" in about["responses"]
            assert not guarded or (method.upper(), path) in listed, f"{method} {path}: not in CALLS"


def test_no_key_in_any_log(client: Client, keys: dict[str, str], tmp_path: Path, service: Service) -> None:
    """Not in what is logged, whatever fails, and not in any file of the service but as a hash."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.addFilter(Redact())
    logging.getLogger().addHandler(handler)
    try:
        headers = {"Authorization": f"Bearer {keys['write']}", "X-API-Key": keys["read"]}
        assert client.post("/v1/events", headers=headers, json={"events": [EVENT]}).status_code == 200
        client.post("/v1/events", headers=headers, json={"events": [{**EVENT, "event": keys["write"]}]})
        client.get(f"/v1/{keys['write']}", headers=headers)
        logging.getLogger("shortlist.serve").error("a request failed: %s", dict(headers))
        client.post("/v1/recommend", headers={"Authorization": f"Bearer {keys['read']}"}, json={"user_id": "u00003"})
        service.writer.flush()
    finally:
        logging.getLogger().removeHandler(handler)
    for key in keys.values():
        assert key not in text.getvalue()
        for path in tmp_path.rglob("*"):
            assert path.is_dir() or key.encode() not in path.read_bytes(), path


def test_figures(client: Client, keys: dict[str, str]) -> None:
    """What was asked is counted, by route and stage; the bundle is named."""
    headers = {"Authorization": f"Bearer {keys['read']}"}
    for _ in range(3):
        assert client.post("/v1/recommend", headers=headers, json={"user_id": "u00003"}).status_code == 200
    client.post("/v1/recommend", json={})
    text = client.get("/metrics", headers=headers).text
    assert 'shortlist_requests_total{route="recommend",status="200"} 3' in text
    assert 'shortlist_requests_total{route="recommend",status="401"} 1' in text
    assert 'shortlist_stage_seconds_count{surface="default",stage="source.itemknn"}' in text
    assert 'shortlist_bundle_info{surface="default",bundle="' in text
    assert "shortlist_ready 1" in text
