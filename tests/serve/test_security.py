"""Keys: what opens what, what is at rest, and what never gets into a log."""

from __future__ import annotations

import json
import logging
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shortlist.core.errors import ConfigError
from shortlist.serve import security
from shortlist.serve.security import Denied, Keys, Redact, loopback, may_bind, redacted, token


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keys:
    monkeypatch.setattr(security, "LOOK", 0.0)
    return Keys(tmp_path / "keys.json", clock=lambda: 1000.0)


def status(keys: Keys, sent: str, scope: str) -> int:
    """What a service would answer."""
    try:
        keys.allow(sent, scope)
    except Denied as denied:
        return 500 if sent and sent in str(denied) else denied.status  # a message that holds a key is a leak
    return 200


def test_a_key_opens_its_scopes_and_nothing_else(keys: Keys) -> None:
    made, sent = keys.make("shop", ["write", "read"])
    assert made.scopes == ("read", "write")
    assert [status(keys, sent, scope) for scope in ("read", "write", "admin")] == [200, 200, 403]
    assert keys.allow(sent, "read").name == "shop"
    wrong = sent[:-1] + ("A" if sent[-1] != "A" else "B")
    for other in (
        "",
        "sl_",
        wrong,
        sent + "A",
        sent.upper(),
        f"sl_{'0' * 12}_{sent[16:]}",
        "Bearer " + sent,
        "\x00" * 60,
    ):
        assert status(keys, other, "read") == 401


def test_only_a_hash_is_at_rest(keys: Keys) -> None:
    _, sent = keys.make("shop", ["read"])
    text = keys.path.read_text()
    assert sent not in text
    assert sent.rpartition("_")[2] not in text
    assert sent[16:] not in text
    assert stat.S_IMODE(keys.path.stat().st_mode) == 0o600
    assert [path.name for path in keys.path.parent.iterdir() if path.suffix != ".lock"] == ["keys.json"]


def test_rotation_and_revocation_reach_a_running_service(keys: Keys) -> None:
    """Another process holds the file open; the old key works for its grace, then no more."""
    old, sent = keys.make("shop", ["read"])
    service = Keys(keys.path, clock=lambda: now)
    now = 1000.0
    assert status(service, sent, "read") == 200
    made, new = keys.rotate(old.id, grace=60)
    assert (made.name, made.scopes) == ("shop", ("read",))
    assert [status(service, each, "read") for each in (sent, new)] == [200, 200]
    now = 1061.0
    assert [status(service, each, "read") for each in (sent, new)] == [401, 200]
    keys.revoke(made.id)
    assert status(service, new, "read") == 401
    keys.path.unlink()
    assert status(service, new, "read") == 401


def test_a_key_expires(keys: Keys) -> None:
    made, sent = keys.make("guest", ["read"], lifetime=60)
    assert made.expires == 1060
    assert status(Keys(keys.path, clock=lambda: 1059.0), sent, "read") == 200
    assert status(Keys(keys.path, clock=lambda: 1060.0), sent, "read") == 401
    assert keys.rotate(made.id, 10)[0].expires == 1060


def test_many_writers_lose_nothing(keys: Keys) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: Keys(keys.path).make(f"k{i}", ["read"]), range(24)))
    assert len(keys.listed()) == 24


def test_bad_input_is_one_line(keys: Keys) -> None:
    with pytest.raises(ConfigError, match="unknown scope 'root'; choices: read, write, admin"):
        keys.make("x", ["root"])
    with pytest.raises(ConfigError, match="no scope; choices"):
        keys.make("x", [])
    made, sent = keys.make("x", ["read"])
    with pytest.raises(ConfigError, match=rf"no key 'no'; choices: {made.id}"):
        keys.revoke("no")
    with pytest.raises(ConfigError) as caught:
        keys.revoke(sent)
    assert sent not in str(caught.value)
    keys.path.write_text(json.dumps({"format": 9, "keys": []}))
    with pytest.raises(ConfigError, match="not a readable file of keys"):
        keys.listed()


def test_what_a_request_carries() -> None:
    assert token({"authorization": "Bearer abc"}) == "abc"
    assert token({"authorization": "bearer  abc "}) == "abc"
    assert token({"x-api-key": "abc"}) == "abc"
    assert token({"authorization": "Basic abc"}) == ""
    assert token({}) == ""


def test_no_secret_gets_into_a_log(keys: Keys, caplog: pytest.LogCaptureFixture) -> None:
    made, sent = keys.make("shop", ["read"])
    caplog.handler.addFilter(Redact())
    logger = logging.getLogger("a library")
    logger.warning("asked by %s", sent)
    logger.warning("{'authorization': 'Bearer " + sent + "'}")
    try:
        raise RuntimeError(sent)
    except RuntimeError:
        logger.exception("failed")
    assert sent not in caplog.text
    assert caplog.text.count(f"sl_{made.id}_***") == 3
    assert redacted("nothing here") == "nothing here"


@pytest.mark.parametrize(
    ("host", "own"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("[::1]", True), ("localhost", True), ("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("shop.example", False)],
)  # fmt: skip
def test_others_are_not_let_in_by_accident(host: str, own: bool, keys: Keys) -> None:
    assert loopback(host) == own
    if not own:
        with pytest.raises(ConfigError, match=r"others can reach it, and there is no key .*--keys, or say --insecure"):
            may_bind(host, None)
        with pytest.raises(ConfigError):
            may_bind(host, keys.path)
    may_bind(host, None, insecure=True)
    keys.make("shop", ["read"])
    may_bind(host, keys.path)
