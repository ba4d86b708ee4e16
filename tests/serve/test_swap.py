"""Another bundle under load: no failed request, no mixed answer; what is damaged or does not fit is refused, and the old one stays."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from bench.served import Command, free
from shortlist.core.errors import BundleError, ConfigError
from shortlist.data.dataset import encode
from shortlist.data.synthetic import world
from shortlist.experiment.fit import fit
from shortlist.pipeline.config import parse
from shortlist.serve import entry
from shortlist.serve.admin import create
from shortlist.serve.eventlog.codec import encode as encoded
from shortlist.serve.eventlog.contract import Entry
from shortlist.serve.keeper import Keeper
from shortlist.serve.security import Keys
from shortlist.serve.service import Service
from shortlist.serve.settings import Settings
from shortlist.serve.swap import ALIVE, Desk, Wish, Wishes, named
from shortlist.state import snapshot
from tests.serve.conftest import SHOP
from tests.serve.live import opened, serving

USERS = [f"u{i:05}" for i in range(20)]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that answers otherwise: by popularity alone."""
    folder = tmp_path_factory.mktemp("swap") / "other"
    tree = {
        **SHOP,
        "source": [{"type": "popular", "half_life": "1d", "quota": 30}],
        "feature": [],
        "ranker": [],
        "title": "other",
    }
    fit(parse(tree), encode(world(0, users=80, items=100, days=8).tables)).save(folder)
    return folder


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole bundle that does not know what requests carry."""
    folder = tmp_path_factory.mktemp("swap") / "foreign"
    tree = {**SHOP, "data": {"positive": ["click"]}, "feature": [], "ranker": []}
    fit(parse(tree), encode(world(0, users=30, items=40, days=4).tables)).save(folder)
    return folder


@contextmanager
def running(shop: Path, folder: Path) -> Iterator[tuple[httpx.Client, Desk]]:
    """A worker, and the desk of its folder."""
    log = f"sqlite:{folder / 'events.log'}"
    Wishes(Settings({}, log).place).begin({"default": str(shop)})
    service = opened(shop, log)
    with serving(service) as client:
        yield client, Desk(service.settings.place)


@contextmanager
def hosted(settings: Settings) -> Iterator[str]:
    """The admin interface on a free port; its address."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create(settings), log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


def loaded(desk: Desk, folder: Path, **options: Any) -> str:
    """Load a candidate; what it says when it cannot be had."""
    wish = desk.load("default", str(folder), **options)
    return desk.wait("default", wish, lambda told: wish.candidate in told["loaded"], 60)


class Load:
    """Requests without a pause, from several threads; what each answer said of itself."""

    def __init__(self, client: httpx.Client) -> None:
        self.url = str(client.base_url)
        self.answers: list[dict[str, Any]] = []
        self.bad: list[str] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(i,)) for i in range(2)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, first: int) -> None:
        with httpx.Client(base_url=self.url, timeout=30) as client:
            i = first
            while not self._stop.is_set():
                response = client.post("/v1/recommend", json={"user_id": USERS[i % len(USERS)], "k": 5})
                if response.status_code != 200:
                    self.bad.append(response.text)
                else:
                    self.answers.append(response.json())
                i += 1


def until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for it."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def test_swap_and_rollback_under_load(shop: Path, other: Path, tmp_path: Path) -> None:
    """All requests are answered, each by one bundle and nothing else; what was clicked meanwhile is known to both."""
    old, new = named(str(shop)), named(str(other))
    with running(shop, tmp_path) as (client, desk), Load(client) as load:
        until(lambda: len(load.answers) > 5)
        assert loaded(desk, other) == ""
        wish = desk.swap("default")
        assert desk.wait("default", wish, lambda told: told["active"] == new, 30) == ""
        until(lambda: load.answers[-1]["bundle"] == new)
        top = client.post("/v1/recommend", json={"user_id": "u00001", "k": 1}).json()["items"][0]["item_id"]
        click = {"user_id": "u00001", "item_id": top, "event": "click"}
        assert client.post("/v1/events", json={"events": [click]}).status_code == 200
        for _ in range(2):
            wish = desk.rollback("default")
            name = named(wish.active)
            assert desk.wait("default", wish, lambda told, name=name: told["active"] == name, 30) == ""  # type: ignore[misc]
            answer = client.post("/v1/recommend", json={"user_id": "u00001", "k": 50}).json()
            assert answer["bundle"] == name
            assert top not in [item["item_id"] for item in answer["items"]]
    assert load.bad == []
    assert {answer["bundle"] for answer in load.answers} == {old, new}
    # No mixture: popularity scores are whole ranks, the ranker's are not.
    for answer in load.answers:
        assert answer["degraded"] == []
        whole = [float(item["score"]).is_integer() for item in answer["items"]]
        assert all(whole) if answer["bundle"] == new else not any(whole)


def test_what_is_damaged_or_does_not_fit_is_refused(shop: Path, other: Path, foreign: Path, tmp_path: Path) -> None:
    """At the desk where its files are not whole; by the worker where it cannot take the place. The old one answers on."""
    damaged = tmp_path / "damaged"
    shutil.copytree(other, damaged)
    victim = next(path for path in sorted(damaged.rglob("*.npy")) if path.stat().st_size > 200)
    content = bytearray(victim.read_bytes())
    content[-1] ^= 1
    victim.write_bytes(bytes(content))
    with running(shop, tmp_path) as (client, desk):
        until(lambda: bool(desk.workers()))
        for folder, said in [
            (damaged, "is damaged"),
            (tmp_path / "nothing", "is not a bundle"),
            (tmp_path, "is not a bundle"),
        ]:
            with pytest.raises(BundleError, match=said):
                desk.load("default", str(folder))
        assert "does not know the context 'device'" in loaded(desk, foreign)
        with pytest.raises(ConfigError, match=r"does not have .* cannot take the place"):
            desk.swap("default")
        desk.drop("default")
        with pytest.raises(ConfigError, match="has no candidate"):
            desk.swap("default")
        with pytest.raises(ConfigError, match="has no previous bundle"):
            desk.rollback("default")
        with pytest.raises(ConfigError, match="answers already"):
            desk.load("default", str(shop))
        with pytest.raises(ConfigError, match="unknown surface 'home'; choices: default"):
            desk.load("home", str(other))
        assert client.post("/v1/recommend", json={}).json()["bundle"] == named(str(shop))
        assert loaded(desk, other) == ""


def test_shadow_and_canary(shop: Path, other: Path, tmp_path: Path) -> None:
    """In the shadow nothing is shown, and the comparison is told; a canary answers its share of the users, always the same."""
    old, new = named(str(shop)), named(str(other))
    with running(shop, tmp_path) as (client, desk):
        until(lambda: bool(desk.workers()))
        assert loaded(desk, other, mode="shadow", share=1.0) == ""
        for user in USERS:
            assert client.post("/v1/recommend", json={"user_id": user}).json()["bundle"] == old
        until(lambda: desk.workers()[0]["surfaces"]["default"]["shadow"]["requests"] >= len(USERS))
        shadow = desk.workers()[0]["surfaces"]["default"]["shadow"]
        assert shadow["errors"] == 0
        assert 0 < shadow["overlap"] < shadow["requests"]
        wish = desk.mode("default", "canary", 0.5)
        assert desk.wait("default", wish, lambda told: True, 10) == ""
        first = {user: client.post("/v1/recommend", json={"user_id": user}).json() for user in USERS}
        again = {user: client.post("/v1/recommend", json={"user_id": user}).json() for user in USERS}
        assert {answer["bundle"] for answer in first.values()} == {old, new}
        assert [first[user]["bundle"] for user in USERS] == [again[user]["bundle"] for user in USERS]
        for answer in first.values():
            assert (answer["variant"] == "canary") == (answer["bundle"] == new)


def test_a_restart_keeps_what_was_swapped_in(tmp_path: Path) -> None:
    """Until the service is started with another bundle."""
    wishes = Wishes(tmp_path)
    assert wishes.begin({"default": "/b/one"}) == {"default": "/b/one"}
    wishes.change("default", lambda wish: type(wish)(**{**vars(wish), "active": "/b/two"}))
    assert wishes.begin({"default": "/b/one"}) == {"default": "/b/two"}
    assert wishes.begin({"default": "/b/three"}) == {"default": "/b/three"}
    assert wishes.begin({"default": "/b/three", "home": "/b/one"}) == {"default": "/b/three", "home": "/b/one"}
    assert set(wishes.begin({"default": "/b/three"})) == {"default"}


def test_a_worker_that_is_silent_is_gone(tmp_path: Path) -> None:
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers" / "1.json").write_text(f'{{"pid": 1, "time": {time.time() - ALIVE - 1}, "surfaces": {{}}}}')
    (tmp_path / "workers" / "2.json").write_text("{")
    assert Desk(tmp_path).workers() == []
    assert "not done within" in Desk(tmp_path).wait("default", Wish("a", "a"), lambda told: True, 0.1)


def test_the_admin_interface(shop: Path, other: Path, tmp_path: Path) -> None:
    """Only an admin key opens it; a whole round through it."""
    keys = Keys(tmp_path / "keys.json")
    sent = {scope: keys.make(scope, [scope])[1] for scope in ("read", "write", "admin")}
    settings = Settings({"default": str(shop)}, f"sqlite:{tmp_path / 'events.log'}", keys=str(keys.path))
    with running(shop, tmp_path) as (client, desk), hosted(settings) as url:
        admin = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {sent['admin']}"}, timeout=60)
        calls = [
            ("GET", "/admin/v1/bundles"),
            *(("POST", f"/admin/v1/bundles/{name}") for name in ("load", "mode", "swap", "rollback", "drop")),
        ]
        for method, path in calls:
            for key, status in [("nothing", 401), ("x", 401), (sent["read"], 403), (sent["write"], 403)]:
                assert (
                    admin.request(method, path, headers={"Authorization": f"Bearer {key}"}, json={}).status_code
                    == status
                )
        told = {
            (method.upper(), path)
            for path, methods in admin.get("/openapi.json").json()["paths"].items()
            for method in methods
        }
        assert told == set(calls)
        until(lambda: bool(desk.workers()))
        assert admin.post("/admin/v1/bundles/load", json={"bundle": str(tmp_path)}).status_code == 422
        assert admin.post("/admin/v1/bundles/load", json={"bundle": str(other)}).status_code == 200
        assert admin.post("/admin/v1/bundles/swap", json={}).status_code == 200
        assert client.post("/v1/recommend", json={}).json()["bundle"] == named(str(other))
        assert admin.post("/admin/v1/bundles/rollback", json={"surface": "default"}).status_code == 200
        assert client.post("/v1/recommend", json={}).json()["bundle"] == named(str(shop))
        assert admin.post("/admin/v1/bundles/rollback", json={"surface": "no"}).status_code == 422
        admin.close()


def test_all_workers_swap(shop: Path, other: Path, tmp_path: Path) -> None:
    """The command with two workers and its admin interface, under load: all change, and a worker that is started again has the new bundle."""
    keys = Keys(tmp_path / "keys.json")
    admin, read = (keys.make(scope, [scope])[1] for scope in ("admin", "read"))
    port = free()
    options = ("--keys", str(keys.path), "--admin", str(port))
    new = named(str(other))
    command = Command(shop, f"sqlite:{tmp_path / 'events.log'}", *options, workers=2)
    command.start()
    try:
        desk = Desk(Settings({}, f"sqlite:{tmp_path / 'events.log'}").place)
        until(lambda: len(desk.workers()) == 2)
        asking = httpx.Client(base_url=command.url, headers={"Authorization": f"Bearer {read}"}, timeout=30)
        doing = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"X-API-Key": admin}, timeout=60)
        with asking, doing:
            until(lambda: answers(doing))
            assert doing.post("/admin/v1/bundles/load", json={"bundle": str(other)}).status_code == 200
            told = doing.post("/admin/v1/bundles/swap", json={}).json()
            assert [worker["surfaces"]["default"]["active"] for worker in told["workers"]] == [new, new]
            assert {asking.post("/v1/recommend", json={}).json()["bundle"] for _ in range(10)} == {new}
            os.kill(told["workers"][0]["pid"], signal.SIGKILL)
            pids = {worker["pid"] for worker in told["workers"]}
            until(lambda: len({worker["pid"] for worker in desk.workers()} - pids) == 1, 60)
            for _ in range(20):
                with httpx.Client(base_url=command.url, headers=asking.headers, timeout=30) as fresh:
                    assert fresh.post("/v1/recommend", json={}).json().get("bundle", new) == new
    finally:
        command.stop()
    assert not any(admin in line or read in line for line in command.said)


def answers(client: httpx.Client) -> bool:
    """Is the admin interface there?"""
    try:
        return client.get("/admin/v1/bundles").status_code == 200
    except httpx.TransportError:
        return False


def test_the_keeper_goes_with_the_bundle(shop: Path, other: Path, tmp_path: Path) -> None:
    """After a swap the snapshots are those of the bundle that answers, so that a restart need not fold the whole log; a bundle that cannot be
    opened leaves it where it is."""
    settings = Settings({"default": str(shop)}, f"sqlite:{tmp_path / 'events.log'}", verify=False, warm=2, entries=1)
    wishes = Wishes(settings.place)
    wishes.begin(settings.surfaces)
    service = Service.open(settings)
    service.start()
    keeper = Keeper(settings)

    def active(folder: Path) -> None:
        wishes.change("default", lambda wish: replace(wish, active=str(folder), previous=wish.active))
        service.writer.append(Entry(entry.ITEMS_GONE, encoded(entry.Gone([f"x{service.log.last()}"], service.now()))))
        keeper.beat()

    def kept(folder: Path) -> list[int]:
        return [snapshot.position(each) for each in snapshot.listed(settings.place / named(str(folder)))]

    active(shop)
    assert (kept(shop), kept(other)) == ([1], [])
    active(other)
    assert (kept(shop), kept(other)) == ([1], [2])
    active(tmp_path / "no bundle")
    assert kept(other) == [3, 2]
    active(shop)
    assert kept(shop) == [4, 1]
    keeper.service.close()
    service.close()
    again = Service.open(replace(settings, surfaces={"default": str(other)}))
    again.attach()
    assert again.saved == {"default": 3}
    again.close()
