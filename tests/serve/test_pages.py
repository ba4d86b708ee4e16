"""What the pages tell people to type works: the commands of docs/serving.md, the nginx of docs/operations.md."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from bench.served import free
from shortlist.cli.recipes import built_in
from shortlist.data.dataset import encode
from shortlist.data.synthetic import world
from shortlist.experiment.fit import fit
from shortlist.pipeline import config
from tests.serve.live import opened, serving

ROOT = Path(__file__).parent.parent.parent


def lines(page: str) -> list[str]:
    """The indented lines of a page: what is to be typed, or written into a file."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return [line[4:] for line in text.splitlines() if line.startswith("    ")]


def needs(program: str) -> None:
    """Skips loudly where a program is not installed."""
    if shutil.which(program) is None and not Path(f"/usr/sbin/{program}").exists():
        pytest.skip(f"{program} is not installed: apt-get install {program}")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a bundle as `shortlist demo --bundle bundles/demo` writes it, of a smaller shop."""
    folder = tmp_path_factory.mktemp("pages")
    recipe = config.read(built_in("demo"), ["train.requests=150"])
    fit(recipe, encode(world(recipe.seed, users=120, items=80, days=10).tables)).save(folder / "bundles" / "demo")
    return folder


def test_the_first_commands(demo: Path) -> None:
    """From the bundle to an answer that a click has changed, typed as the page has it, only on another port."""
    needs("curl")
    typed = lines("serving.md")
    assert "--bundle bundles/demo" in next(line for line in typed if "shortlist demo" in line)
    port = free()
    serve = next(line for line in typed if line.startswith(".venv/bin/shortlist serve bundles/demo"))
    command = [sys.executable, "-m", "shortlist", *shlex.split(serve.replace("8000", str(port)))[1:]]
    curls = [line for line in typed if line.startswith("curl -s localhost:8000")][:3]
    assert ["/v1/recommend" in line for line in curls] == [True, False, True]
    process = subprocess.Popen(command, cwd=demo, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(demo)}, stderr=subprocess.PIPE, text=True)  # fmt: skip
    try:
        assert process.stderr is not None
        assert any(line.startswith("ready: ") for line in process.stderr)

        def run(line: str) -> dict[str, Any]:
            done = subprocess.run(
                line.replace(":8000", f":{port}"), shell=True, capture_output=True, text=True, check=True, timeout=60
            )
            made: dict[str, Any] = json.loads(done.stdout)
            return made

        assert run("curl -s localhost:8000/readyz")["ready"]
        first, sent, then = (run(line) for line in curls)
        assert sent["accepted"] == 1
        assert len(first["items"]) == len(then["items"]) == 3
        assert first["items"] != then["items"]
        assert run("curl -s localhost:8000/v1/users/u00003")["history"][0]["item_id"] == "i00030"
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0


@contextmanager
def nginx(folder: Path, upstreams: list[str]) -> Iterator[str]:
    """The page's configuration with these servers in it; its address."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    found = re.search(r"^    upstream shortlist .*?^    }$", page, re.DOTALL | re.MULTILINE)
    assert found is not None
    port, text = free(), found[0]
    servers = "".join(f"server {upstream}; " for upstream in upstreams)
    text = re.sub(r"(server [\d.:]+; )+", servers, text)
    text = text.replace("listen 80;", f"listen 127.0.0.1:{port};")
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    whole = f"pid {folder}/pid;\ndaemon off;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}{text}\n}}\n"
    (folder / "nginx.conf").write_text(whole)
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    process = subprocess.Popen(
        [program, "-p", str(folder), "-c", str(folder / "nginx.conf")], stderr=subprocess.PIPE, text=True
    )
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(100):
            try:
                httpx.get(f"{address}/healthz", timeout=5)
                break
            except httpx.TransportError:
                assert process.poll() is None, process.communicate()[1]
                time.sleep(0.05)
        yield address
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_replicas_behind_nginx(shop: Path, tmp_path: Path) -> None:
    """Requests are shared out; one that is not ready, and one that is gone, is nobody's failed request; a click is known to the other."""
    needs("nginx")
    log = f"sqlite:{tmp_path / 'events.log'}"
    services = [opened(shop, log) for _ in range(2)]
    (tmp_path / "nginx").mkdir()
    with ExitStack() as first_one, ExitStack() as second_one:
        clients = [
            stack.enter_context(serving(service))
            for stack, service in zip((first_one, second_one), services, strict=True)
        ]
        hosts = [client.base_url.netloc.decode() for client in clients]
        with nginx(tmp_path / "nginx", hosts) as address, httpx.Client(base_url=address, timeout=30) as client:

            def asked(user: str = "u00003") -> tuple[str, list[str]]:
                """Who answered, and what."""
                response = client.post("/v1/recommend", json={"user_id": user, "k": 3, "deadline_ms": 20_000})
                assert response.status_code == 200, response.text
                made = response.json()
                return made["request_id"].partition("-")[0], [item["item_id"] for item in made["items"]]

            assert len({asked()[0] for _ in range(12)}) == 2
            first = asked("ann")[1][0]
            click = {"user_id": "ann", "item_id": first, "event": "click"}
            assert client.post("/v1/events", json={"events": [click], "key": "a"}).json()["accepted"] == 1
            assert all(first not in asked("ann")[1] for _ in range(6))
            services[1].ready, services[1].problem = False, "for the test"
            assert len({asked()[0] for _ in range(12)}) == 1
            services[1].ready, services[1].problem = True, ""
            second_one.close()
            assert len({asked()[0] for _ in range(12)}) == 1
