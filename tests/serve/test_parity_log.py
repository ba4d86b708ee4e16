"""Parity on a service's log: what was served under a moving state, computed again; and every difference that somebody makes is found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shortlist.cli import main
from shortlist.core.batch import Batch
from shortlist.core.rng import rng
from shortlist.serve import entry
from shortlist.serve.digest import digests
from shortlist.serve.eventlog.codec import decode, encode
from shortlist.serve.eventlog.contract import Entry, Stored
from shortlist.serve.eventlog.sqlite import SqliteLog
from shortlist.serve.parity_log import parity_log
from tests.serve.live import opened


def lived(shop: Path, log: Path, requests: int = 60) -> None:
    """Two workers answer in turn while events, items and deletions come in; late events, new users, pages and filters among them."""
    draw = rng(0, "parity log")
    workers = [opened(shop, f"sqlite:{log}") for _ in range(2)]
    for i in range(requests):
        worker = workers[int(draw.integers(2))]
        user = f"u{draw.integers(100):05}"
        request: dict[str, Any] = {"user_id": user, "k": int(draw.integers(1, 12))}
        more: list[dict[str, Any]] = [
            {}, {"context": {"device": "phone"}}, {"filter": {"category": "books"}}, {"exclude": ["i00003"]},
        ]  # fmt: skip
        request |= more[i % 4]
        made = worker.recommend(request)
        if made["cursor"] and i % 3 == 0:
            worker.recommend({**request, "cursor": made["cursor"]})
        if i % 5 == 0:
            worker.rank({"user_id": user, "items": [f"i{i + j:05}" for j in range(0, 30, 3)], "k": 4})
            worker.similar({"user_id": user, "item_id": f"i{i:05}", "k": 5, "exclude": ["i00003"]})
        event = {
            "user_id": user,
            "item_id": made["items"][0]["item_id"] if made["items"] else f"new{i}",
            "event": "click",
        }
        engine = workers[int(draw.integers(2))].engine(None)
        engine.track([{**event, "time": worker.now() - int(draw.integers(0, 5000)), "device": f"d{i % 3}"}])
        if i % 10 == 5:
            worker.writer.append(
                Entry(entry.ITEMS, encode(entry.Rows([{"item_id": f"fresh{i}", "category": "toys"}], worker.now())))
            )
            worker.writer.append(Entry(entry.ITEMS_GONE, encode(entry.Gone([f"i{i:05}"], worker.now()))))
    for worker in workers:
        worker.writer.flush()
        worker.close()


@pytest.fixture(scope="module")
def log(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of many answers."""
    path = tmp_path_factory.mktemp("parity") / "events.log"
    lived(shop, path)
    return path


def test_nothing_differs(shop: Path, log: Path) -> None:
    found = parity_log(shop, f"sqlite:{log}")
    assert found.differences == 0, found.json()
    assert found.requests > 60
    assert found.left_out == {}
    assert {"answer", "rows", "score", "item"} < set(found.columns)
    assert sum("/item" in name for name in found.columns) > 3  # features, too
    assert all(column.rows for column in found.columns.values())


def changed(log: Path, to: Path, change: Callable[[entry.Served], None], call: str = "recommend") -> Path:
    """A copy of the log with one served answer in the middle, to such a call, changed."""
    source, target = SqliteLog(log), SqliteLog(to)
    stored = source.read(0, 10_000)
    served = [each for each in stored if each.kind == entry.SERVED and decode(each).call == call]
    chosen = served[len(served) // 2].position
    for each in stored:
        body = each.body
        if each.position == chosen:
            content = decode(Stored(each.position, each.kind, each.body))
            change(content)
            body = encode(content)
        target.append([Entry(each.kind, body)])
    source.close()
    target.close()
    return to


def other_score(served: entry.Served) -> None:
    """The score of the last item, in its last bit."""
    served.scores[-1] = float(np.nextafter(np.float32(served.scores[-1]), np.float32(9)))


def other_item(served: entry.Served) -> None:
    """An item that was not shown."""
    served.items[0] = "i00099"


def other_feature(served: entry.Served) -> None:
    """One bit of one column's digest."""
    raw = bytearray(served.columns)
    raw[8 * 5] ^= 1
    served.columns = bytes(raw)


def other_size(served: entry.Served) -> None:
    """A row more."""
    served.rows += 1


def other_moment(served: entry.Served) -> None:
    """As if it had been given before an event that it knew."""
    served.after //= 4


@pytest.mark.parametrize(
    ("change", "call"),
    [
        *((change, "recommend") for change in (other_score, other_item, other_feature, other_size, other_moment)),
        *((change, call) for call in ("rank", "similar") for change in (other_item, other_feature)),
    ],
)
def test_a_difference_is_found(
    shop: Path, log: Path, tmp_path: Path, change: Callable[[entry.Served], None], call: str
) -> None:
    path = changed(log, tmp_path / "changed.log", change, call)
    found = parity_log(shop, f"sqlite:{path}")
    assert found.differences >= 1
    assert all(column.mismatches <= 1 for column in found.columns.values())


def test_the_command(shop: Path, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["parity", str(shop), "--log", f"sqlite:{log}", "--most", "20"]) == 0
    told = capsys.readouterr().out
    assert "0 differences in 20 requests" in told
    assert "not compared" in told
    path = changed(log, tmp_path / "changed.log", other_item)
    assert main.run(["parity", str(shop), "--log", f"sqlite:{path}"]) == 1
    assert "answer" in capsys.readouterr().out


def test_a_digest_is_of_values_not_of_order() -> None:
    """Against slow plain loops; every row and every bit counts, NaN equals NaN."""
    draw = np.random.default_rng(0)
    item = draw.permutation(50).astype(np.int32)
    values = draw.random(50).astype(np.float32)
    values[7] = np.nan
    batch = Batch(
        {}, np.array([0, 20, 50]), {"item": item, "a": values, "b": draw.integers(-1, 9, 50).astype(np.int32)}
    )
    names, sums = digests(batch)
    for c, name in enumerate(names):
        for i in range(2):
            rows = range(batch.offsets[i], batch.offsets[i + 1])
            assert int(sums[c, i]) == sum(term(int(item[r]), batch.cand[name][r]) for r in rows) % 2**64
    order = np.concatenate([draw.permutation(20), 20 + draw.permutation(30)])
    assert (digests(batch.take(order))[1] == sums).all()
    other = values.copy()
    other.view(np.uint32)[7] ^= 5  # another NaN
    assert (digests(batch.with_columns({"a": other}))[1] == sums).all()
    other[3] = np.nextafter(other[3], np.float32(1))
    assert (digests(batch.with_columns({"a": other}))[1] != sums).tolist() == [
        [False, False],
        [True, False],
        [False, False],
    ]


def term(item: int, value: Any) -> int:
    """What one row adds, as the docstring has it."""
    mask = 2**64 - 1
    x = (item + 0x9E3779B97F4A7C15) & mask
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    factor = (x ^ (x >> 31)) | 1
    word = 0x7FC00000 if value != value else int(np.array([value]).view(np.uint32)[0])
    return ((word + 1) * factor) & mask
