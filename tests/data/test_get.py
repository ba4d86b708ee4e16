"""Fetching public sets, from a server on loopback: checked, whole or nothing, readable by the loader of the same name."""

import dataclasses
import hashlib
import io
import threading
import zipfile
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from shortlist.core.errors import DataError
from shortlist.data import get as getting
from shortlist.data.dataset import read, tables


def archive(files: dict[str, str]) -> bytes:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as opened:
        for name, text in files.items():
            opened.writestr(name, text.encode("latin-1"))
    return whole.getvalue()


ML1M = archive(
    {
        "ml-1m/README": "terms",
        "ml-1m/ratings.dat": "".join(f"{u}::10::{1 + u % 5}::{900 + u}\n" for u in range(1, 6))
        + "3000::11::4::950\n1::11::5::800\n",
        "ml-1m/movies.dat": "10::Misérables, Les (1995)::Drama|Musical\n11::Odd\x85One (2000)::Comedy\n",
        "ml-1m/users.dat": "".join(f"{u}::F::25::{u}::4806{u}\n" for u in range(1, 6)) + "3000::M::1::0::1\n",
    }
)
FILM = "|01-Jan-1995||http://x/"
ML100K = archive(
    {
        "ml-100k/README": "terms",
        "ml-100k/u.data": "1\t1\t5\t20\n2\t2\t3\t10\n",
        "ml-100k/u.genre": "unknown|0\nAction|1\nDrama|2\n\n",
        "ml-100k/u.item": f"1|Toy Story (1995){FILM}|0|1|1\n2|unknown||||1|0|0\n",
        "ml-100k/u.user": "1|24|M|technician|85711\n2|53|F|other|T8H1N\n",
    }
)


class Handler(BaseHTTPRequestHandler):
    """Gives what the server's `files` has."""

    def do_GET(self) -> None:
        body = self.server.files.get(self.path)  # type: ignore[attr-defined]  # set by the fixture
        if body is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """Files of a server that the published addresses are bent to; their checksums are those of the small archives."""
    monkeypatch.setenv("no_proxy", "*")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    files: dict[str, bytes] = {"/ml-1m.zip": ML1M, "/ml-100k.zip": ML100K}
    server.files = files  # type: ignore[attr-defined]  # read by the handler
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    for name, body in (("ml1m", ML1M), ("ml100k", ML100K)):
        there = getting.HOMES[name]
        url = f"http://127.0.0.1:{server.server_port}/{there.file}"
        bent = dataclasses.replace(there, url=url, md5=hashlib.md5(body, usedforsecurity=False).hexdigest())
        monkeypatch.setitem(getting.HOMES, name, bent)
    yield files
    server.shutdown()
    thread.join()
    server.server_close()


def test_ml1m(home: dict[str, bytes], tmp_path: Path) -> None:
    written = getting.get("ml1m", tmp_path)
    assert sorted(written) == sorted(path.name for path in tmp_path.iterdir())
    timed = tables(f"ml1m:{tmp_path}")
    assert timed.events.rows() == [(1, 11, 800, 5.0), *((u, 10, 900 + u, 1.0 + u % 5) for u in range(1, 6))]
    assert timed.items is not None
    assert timed.items.rows() == [
        (10, "Misérables, Les (1995)", 1995, ["Drama", "Musical"]),
        (11, "Odd\x85One (2000)", 2000, ["Comedy"]),
    ]
    assert timed.users is not None
    assert timed.users.row(0) == (1, "F", 25, "academic/educator", "48061")
    # Item 11 has two ratings only: the papers leave it out.
    loo = read(f"ml1m:{tmp_path}", variant="loo")
    assert len(loo.log) == 5
    ratings = pl.read_parquet(tmp_path / "interactions.parquet")
    assert ratings["position"].to_list() == [0] * 5 + [None] * 2


def test_ml100k(home: dict[str, bytes], tmp_path: Path) -> None:
    getting.get("ml100k", tmp_path / "new" / "folder")
    loaded = tables(f"ml100k:{tmp_path / 'new' / 'folder'}")
    assert loaded.events.rows() == [(1, 1, 20, 5.0), (2, 2, 10, 3.0)]
    assert loaded.items is not None
    assert loaded.items.rows() == [(1, "Toy Story", 1995, ["Action", "Drama"]), (2, "unknown", None, ["unknown"])]
    assert loaded.users is not None
    assert loaded.users.rows() == [(1, 24, "M", "technician", "85711"), (2, 53, "F", "other", "T8H1N")]


def test_progress_is_told(home: dict[str, bytes], tmp_path: Path) -> None:
    told: list[Any] = []

    def progress(steps: Iterable[Any], title: str = "", total: int | None = None) -> Iterable[Any]:
        told.append((title, total))
        return steps

    getting.get("ml1m", tmp_path, progress)
    assert told == [("fetch ml-1m.zip (MiB)", 1)]


def test_a_wrong_checksum_keeps_nothing(home: dict[str, bytes], tmp_path: Path) -> None:
    home["/ml-1m.zip"] = ML1M[:-1] + b"x"
    with pytest.raises(DataError, match=r"what came has MD5 [0-9a-f]{32}, expected [0-9a-f]{32}; nothing was kept"):
        getting.get("ml1m", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_network(home: dict[str, bytes], tmp_path: Path) -> None:
    home.clear()
    with pytest.raises(
        DataError, match=r"cannot reach http://.*/ml-1m\.zip \(.*\); download it yourself from there into .*"
    ) as e:
        getting.get("ml1m", tmp_path)
    assert "\n" not in str(e.value)
    assert list(tmp_path.iterdir()) == []


def test_nobody_listens(home: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = dataclasses.replace(getting.HOMES["ml1m"], url="http://127.0.0.1:9/ml-1m.zip")
    monkeypatch.setitem(getting.HOMES, "ml1m", nowhere)
    with pytest.raises(DataError, match=r"cannot reach http://127\.0\.0\.1:9/ml-1m\.zip"):
        getting.get("ml1m", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_fetched_by_hand_is_used(home: dict[str, bytes], tmp_path: Path) -> None:
    home.clear()
    (tmp_path / "ml-1m.zip").write_bytes(ML1M)
    getting.get("ml1m", tmp_path)
    assert (tmp_path / "ml-1m.zip").exists()  # it is not ours to remove
    assert len(tables(f"ml1m:{tmp_path}").events) == 6
    (tmp_path / "ml-1m.zip").write_bytes(b"other")
    with pytest.raises(DataError, match="not the published file: its MD5 is"):
        getting.get("ml1m", tmp_path)


def test_an_archive_without_its_files(home: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = archive({"ml-1m/README": "terms"})
    home["/ml-1m.zip"] = body
    digest = hashlib.md5(body, usedforsecurity=False).hexdigest()
    monkeypatch.setitem(getting.HOMES, "ml1m", dataclasses.replace(getting.HOMES["ml1m"], md5=digest))
    with pytest.raises(DataError, match=r"not the expected archive: .*ratings\.dat"):
        getting.get("ml1m", tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".zip"]


def test_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'globo' cannot be fetched; choices: ml1m, ml100k"):
        getting.get("globo", tmp_path)


def test_the_published_addresses() -> None:
    assert {name: (home.url, home.md5) for name, home in getting.HOMES.items()} == {
        "ml1m": ("https://files.grouplens.org/datasets/movielens/ml-1m.zip", "c4d9eecfca2ab87c1945afe126590906"),
        "ml100k": ("https://files.grouplens.org/datasets/movielens/ml-100k.zip", "0e33842e24a9c977be4e0107933c0723"),
    }
