"""The log trains the next model: what it holds comes out as tables, a recipe is fitted on them, and the new bundle goes on where they end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from shortlist.cli import main
from shortlist.core.batch import Batch, Columns
from shortlist.core.errors import ConfigError
from shortlist.data.dataset import encode, tables
from shortlist.data.schema import Tables
from shortlist.data.synthetic import START, world
from shortlist.experiment.fit import fit
from shortlist.pipeline.config import parse
from shortlist.serve import entry
from shortlist.serve.engine import Engine
from shortlist.serve.eventlog.codec import decode
from shortlist.serve.eventlog.codec import encode as packed
from shortlist.serve.eventlog.contract import Entry
from shortlist.serve.eventlog.sqlite import SqliteLog
from shortlist.serve.export import export
from shortlist.serve.parity_log import parity_log
from shortlist.serve.service import Service
from tests.serve.conftest import SHOP
from tests.serve.live import opened

GONE, BACK, ERASED = "i00088", "i00091", "somebody who goes"


@pytest.fixture(scope="module")
def base() -> Tables:
    """What the shop's bundle was fitted on."""
    return world(0, users=80, items=100, days=8).tables


def lived(service: Service) -> None:
    """Some days of a small shop: answers, clicks on them, new and changed and deleted items, users, an erasure."""
    engine = service.engine(None)
    draw = np.random.default_rng(0)
    for i in range(60):
        user = f"u{draw.integers(90):05}"
        made = service.recommend({"user_id": user, "k": 5, "context": {"device": "phone"}})
        if i % 7 == 0:
            service.rank({"user_id": user, "items": ["i00001", "i00002", "i00003"]})
            service.recommend({"user_id": user, "k": 5, "shown": False})
            service.recommend({"k": 3})
        ids = [item["item_id"] for item in made["items"]]
        click: dict[str, Any] = {"user_id": user, "item_id": ids[i % len(ids)], "event": "click", "device": "phone"}
        engine.track([{**click, "request_id": made["request_id"], "position": 1 + i % len(ids)}])
        engine.track([{"user_id": ERASED, "item_id": f"i{i:05}", "event": "click"}])
    rows = [
        {"item_id": "brand new", "category": "books", "tags": ["a", "b"], "price": 3.0},
        {"item_id": "i00002", "price": 1.5},
    ]
    known = engine.catalogue.items.columns
    for row in rows:
        kept = {name: value for name, value in row.items() if name == "item_id" or name in known}
        service.append(Entry(entry.ITEMS, packed(entry.Rows([kept], service.now()))))
    service.append(Entry(entry.ITEMS_GONE, packed(entry.Gone([GONE, BACK], service.now()))))
    service.append(Entry(entry.ITEMS, packed(entry.Rows([{"item_id": BACK}], service.now()))))
    engine.track([{"user_id": "a newcomer", "item_id": "brand new", "event": "click", "value": 2.5}])
    service.erase(ERASED)
    service.writer.flush()


@pytest.fixture(scope="module")
def log(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a service that has lived."""
    path = tmp_path_factory.mktemp("export") / "events.log"
    service = opened(shop, f"sqlite:{path}")
    lived(service)
    service.close()
    return path


@pytest.fixture(scope="module")
def folder(base: Tables, log: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tables, by the command."""
    home = tmp_path_factory.mktemp("tables")
    for title, table in base.parts().items():
        (home / "base").mkdir(exist_ok=True)
        table.write_parquet(home / "base" / f"{title}.parquet")
    arguments = ["data", "export", "--log", f"sqlite:{log}", "--data", str(home / "base"), "--out", str(home / "out")]
    assert main.run(arguments) == 0
    return home / "out"


def contents(log: Path) -> Iterator[Any]:
    """What the log holds, in order."""
    held = SqliteLog(log)
    yield from (content for stored in held.read(0, 100_000) if (content := decode(stored)) is not None)
    held.close()


def test_every_event_and_every_impression_is_there(base: Tables, log: Path, folder: Path) -> None:
    """In log order behind the data, against plain loops over the log."""
    expected: list[tuple[Any, ...]] = []
    for content in contents(log):
        if isinstance(content, entry.Events):
            for i, user in enumerate(content.user_id):
                request = content.request_id[i] if content.request_id else None
                place = content.position[i] if content.position else None
                device = content.context["device"][i] if "device" in content.context else None
                expected.append(
                    (
                        user,
                        content.item_id[i],
                        content.event[i],
                        content.time[i],
                        content.value[i],
                        request,
                        place,
                        None,
                        device,
                    )
                )
        elif (
            isinstance(content, entry.Served)
            and content.user_id is not None
            and content.request.get("shown") is not False
        ):
            for place, (item, chance) in enumerate(zip(content.items, content.propensity, strict=True), 1):
                device = content.request["context"].get("device")
                about = (content.time, None, content.request_id, place, chance, device)
                expected.append((content.user_id, item, "impression", *about))
    names = ["user_id", "item_id", "event", "time", "value", "request_id", "position", "propensity", "device"]
    events = pl.read_parquet(folder / "events.parquet")
    assert events.select(names).slice(len(base.events)).rows() == expected
    assert len(expected) > 300
    about = json.loads((folder / "log.json").read_text())
    assert about["events"] + about["impressions"] == len(expected)
    assert about["left_out"] == {}
    assert not any(ERASED.encode() in path.read_bytes() for path in folder.iterdir())


def test_the_tables_are_the_data_and_what_has_changed(base: Tables, folder: Path) -> None:
    found = tables(folder)
    for title in ("events", "items", "users"):
        names = base.context_columns() if title == "events" else base.attributes(title)
        for name in names:
            assert found.kind(title, name) == base.kind(title, name), name
    assert found.items is not None
    assert base.items is not None
    new = found.items.filter(pl.col("item_id") == "brand new").to_dicts()[0]
    assert new["category"] == "books"
    assert new["available_from"] is not None
    same = [name for name in base.items.columns if name != "price"]
    for item in ("i00002", BACK, "i00050"):
        rows = [table.filter(pl.col("item_id") == item).select(same).to_dicts() for table in (found.items, base.items)]
        assert rows[0] == rows[1]
    shown = pl.read_parquet(folder / "impressions.parquet")
    assert {"score", "source", "variant", "bundle", "surface", "call", "propensity", "position"} <= set(shown.columns)
    assert set(shown["call"]) == {"recommend", "rank"}
    assert shown["user_id"].null_count() > 0


def test_the_log_trains_the_next_model(
    shop: Path, log: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A backtest by next click, one on what was shown, and a fit; the new bundle on the same log, from where the tables end, knows what the
    old one knows, to the bit, hides what was deleted, and parity finds no difference in what it answers."""
    position = json.loads((folder / "log.json").read_text())["position"]
    bundle = tmp_path / "bundle"
    recipe = written(tmp_path / "next.toml", SHOP)
    shown = {
        **SHOP, "pipeline": {"candidates": "impressions"}, "filter": [], "source": [],
        "train": {"requests": 200, "validate": 50, "negatives": 0},
    }  # fmt: skip
    slates = written(tmp_path / "slates.toml", shown)
    assert main.run(["check", str(folder)]) == 0
    for name, file in (("next", recipe), ("slates", slates)):
        assert main.run(["backtest", str(file), "--data", str(folder), "--out", str(tmp_path / name)]) == 0
    assert json.loads((tmp_path / "next" / "metrics.json").read_text())["requests"] > 0
    assert (
        0 <= json.loads((tmp_path / "slates" / "metrics.json").read_text())["systems"]["pipeline"]["auc"]["value"] <= 1
    )
    assert main.run(["fit", str(recipe), "--data", str(folder), "--out", str(bundle)]) == 0
    capsys.readouterr()

    old, new = opened(shop, f"sqlite:{log}"), opened(bundle, f"sqlite:{log}", after={"default": position})
    one, other = old.engine(None), new.engine(None)
    assert (one.position, other.position) == (position, position)
    users, items = [f"u{i:05}" for i in range(90)], [f"i{i:05}" for i in range(100)]
    now = old.now()
    for user in (*users, "a newcomer"):
        same(known(one, user, items, now), known(other, user, items, now))
    for engine in (one, other):
        assert hidden(engine) == {GONE}
    service = new
    for user in users[:10]:
        made = service.recommend({"user_id": user, "k": 5})
        other.track([{"user_id": user, "item_id": made["items"][0]["item_id"], "event": "click"}])
    service.append(Entry(entry.ITEMS, packed(entry.Rows([{"item_id": GONE}], service.now()))))
    assert hidden(other) == set()
    service.writer.flush()
    for each in (old, new):
        each.close()
    told = parity_log(bundle, f"sqlite:{log}")
    assert told.requests >= 11
    assert told.differences == 0


def test_a_bundle_that_ranks_what_it_is_given(log: Path, folder: Path, tmp_path: Path) -> None:
    """Trained on what was shown, it is served by `rank`: warm, logged, the same in parity; to recommend it has nothing, and says so."""
    shown = {
        **SHOP,
        "pipeline": {"candidates": "impressions"},
        "filter": [],
        "source": [],
        "train": {"requests": 200, "validate": 50, "negatives": 0},
    }
    bundle = tmp_path / "slates"
    fit(parse(shown), encode(tables(folder))).save(bundle)
    address = f"sqlite:{tmp_path / 'new.log'}"
    service = opened(bundle, address)
    assert service.warmed > 1
    ranked = service.rank({"user_id": "u00003", "items": ["i00001", "i00002", "i00003", "no such"], "k": 2})
    assert len(ranked["items"]) == 2
    assert ranked["degraded"] == []
    assert {each["reason"] for each in ranked["left_out"]} == {"unknown item", "ranked below the answer, or ruled out"}
    with pytest.raises(ConfigError, match="ranks the items that requests come with"):
        service.recommend({"user_id": "u00003"})
    service.writer.flush()
    service.close()
    told = parity_log(bundle, address)
    assert (told.requests, told.differences) == (1, 0)


def hidden(engine: Engine) -> set[str]:
    """Of the deleted items and others, those that are not shown because they were deleted."""
    made = engine.rank({"user_id": "a guest", "items": [GONE, BACK, "brand new", "i00050"]})
    return {each["item_id"] for each in made["left_out"] if each["reason"] == "filtered by the request"}


def written(path: Path, tree: dict[str, Any]) -> Path:
    """A recipe as a file."""
    lines: list[str] = []
    for name, value in tree.items():
        for each in value if isinstance(value, list) else [value]:
            lines.append(f"[[{name}]]" if isinstance(value, list) else f"[{name}]")
            lines += [f"{key} = {json.dumps(one)}" for key, one in each.items()]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def known(engine: Engine, user: str, items: list[str], now: int) -> Columns:
    """All features of all items for a user, which no model has a part in."""
    batch = engine.asked({"user_id": user, "time": now}).batch
    codes = engine.catalogue.items.ids.codes(items)
    batch = Batch(batch.req, np.array([0, len(codes)]), {"item": codes})
    made: Columns = {}
    for name in ("counts", "recency"):
        made |= engine.pipeline.features[name].compute(batch, engine.state)
    return made


def same(one: Columns, other: Columns) -> None:
    """To the bit."""
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_a_user_of_the_data_who_was_erased(shop: Path, base: Tables, tmp_path: Path) -> None:
    """Is left out of the data as well, and it is told."""
    path = tmp_path / "events.log"
    service = opened(shop, f"sqlite:{path}")
    service.erase("u00007")
    service.close()
    held = SqliteLog(path)
    made = export(held, tmp_path / "out", base)
    held.close()
    own = len(base.events.filter(pl.col("user_id") == "u00007"))
    assert made.left_out == {"events of erased users": own, "users of erased users": 1}
    assert not any(b"u00007" in path.read_bytes() for path in (tmp_path / "out").iterdir())
    assert len(pl.read_parquet(tmp_path / "out" / "events.parquet")) == len(base.events) - own


def test_a_log_alone_and_ids_that_are_numbers(tmp_path: Path) -> None:
    """Without the data that came before: whole numbers stay such, unless one of them is text; attributes have the types that their values have."""
    for extra, dtype in ((17, pl.Int64), ("x", pl.String)):
        held = SqliteLog(tmp_path / f"{extra}.log")
        content = entry.Events([1, 2], [5, extra], ["click", "view"], [10, 11], [None, 2.0], {"load": [0.5, 1]})
        rows = entry.Rows(
            [
                {"item_id": 5, "price": 2.0, "vector": [0.5, 1.0]},
                {"item_id": 6, "tags": ["a"]},
                {"item_id": 5, "price": None},
            ],
            12,
        )
        held.append([Entry(entry.EVENTS, packed(content)), Entry(entry.ITEMS, packed(rows))])
        made = export(held, tmp_path / f"{extra}.out")
        held.close()
        assert (made.position, made.events, made.impressions, made.left_out) == (2, 2, 0, {})
        found = tables(tmp_path / f"{extra}.out")
        assert found.events.schema["item_id"] == dtype
        assert found.events["load"].to_list() == [0.5, 1.0]
        assert found.items is not None
        listed = {str(row.pop("item_id")): row for row in found.items.to_dicts()}
        assert listed["5"] == {"price": None, "vector": [0.5, 1.0], "tags": None, "available_from": None}
        assert listed["6"] == {"price": None, "vector": None, "tags": ["a"], "available_from": 12}
        encode(found)


def test_types_of_the_data_stay(tmp_path: Path) -> None:
    """Whole-number ids, moments, days, truth values and numbers that a loader calls categories: as they were, with the log's values among them."""
    events = pl.DataFrame(
        {"user_id": [1, 2], "item_id": [5, 6], "time": [datetime(2024, 1, 1), datetime(2024, 1, 2)], "region": [3, 4]}
    )
    items = pl.DataFrame({
        "item_id": [5, 6], "made": [datetime(2020, 1, 1), None], "day": [date(2020, 1, 2), date(2020, 1, 3)], "hot": [True, None], "year": [1999, 2001],
    })  # fmt: skip
    base = Tables(events, items, default_kind="click", categories=("region", "year"))
    held = SqliteLog(tmp_path / "events.log")
    content = entry.Events(["7", "seven"], [5, 5], ["click"] * 2, [START] * 2, [None] * 2, {"region": [3, 3]})
    rows = entry.Rows([{"item_id": 6, "made": 86_400, "day": 172_800, "hot": "true", "year": 2002}], START)
    held.append([Entry(entry.EVENTS, packed(content)), Entry(entry.ITEMS, packed(rows))])
    made = export(held, tmp_path / "out", base)
    held.close()
    assert made.left_out == {"text for an id where the data have whole numbers": 1}
    found = tables(tmp_path / "out")
    assert found.events["user_id"].to_list() == [1, 2, 7]
    assert found.events["region"].to_list() == ["3", "4", "3"]
    assert found.events["event"].to_list() == ["click"] * 3
    assert found.items is not None
    assert found.items.rows() == [
        (5, datetime(2020, 1, 1), date(2020, 1, 2), "true", "1999"), (6, datetime(1970, 1, 2), date(1970, 1, 3), "true", "2002"),
    ]  # fmt: skip
    assert [found.kind("items", name) for name in ("made", "day", "hot", "year")] == [
        "moment",
        "moment",
        "category",
        "category",
    ]


@pytest.mark.parametrize("case", ["no log", "empty", "other things"])
def test_what_cannot_be_exported(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, path = tmp_path / "out", tmp_path / "events.log"
    if case != "no log":
        SqliteLog(path).close()
    if case == "other things":
        out.mkdir()
        (out / "precious.txt").write_text("mine")
    assert main.run(["data", "export", "--log", f"sqlite:{path}", "--out", str(out)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert {"no log": "no such log", "empty": "nothing to export", "other things": "other things in it"}[case] in said[
        0
    ]
    assert path.exists() == (case != "no log")
