"""What an engine records is what is computed again; whatever is altered in the record, or in the bundle, is found."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from shortlist.cli import main
from shortlist.core.errors import BundleError, ConfigError
from shortlist.core.rng import rng
from shortlist.data.dataset import encode
from shortlist.data.synthetic import START
from shortlist.experiment.fit import fit
from shortlist.pipeline.bundle import Bundle
from shortlist.serve import record
from shortlist.serve.engine import Engine
from shortlist.serve.parity import parity, same
from tests.parity.worlds import DAY, FEATURES, RANKERS, recipe, shop, without

REQUESTS = 300
FEW = 60
NOW = START + 7 * DAY
KINDS = ("impression", "click", "click", "cart", "purchase")
DEVICES = ["phone", "desktop", "tablet", "watch", None]


def bundle(folder: Path, **changes: Any) -> Path:
    """A bundle with every part, fitted on the first days."""
    data = encode(without(shop(), NOW))
    chosen = recipe(timeline={"test": 0.9, "cutoffs": 2}, **{"ranker": RANKERS[:1], **changes})
    fit(chosen, data, splits=chosen.timeline.at(data, NOW)).save(folder)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A bundle, and the record of an engine that served it."""
    folder = tmp_path_factory.mktemp("record")
    return bundle(folder / "bundle"), served(folder / "bundle", folder / "log")


@pytest.fixture(scope="module")
def small(made: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same bundle and a short record, for what need not be long."""
    return made[0], served(made[0], tmp_path_factory.mktemp("small") / "log", FEW, 16)


@pytest.fixture
def copy(small: tuple[Path, Path], tmp_path: Path) -> Path:
    """A record to be spoilt."""
    return shutil.copytree(small[1], tmp_path / "log")


def event(draw: np.random.Generator, i: int) -> dict[str, Any]:
    """New users, items and devices keep coming; some events are late, some tied."""
    made: dict[str, Any] = {
        "user_id": f"u{draw.integers(0, 60):05}" if draw.random() < 0.8 else f"guest{draw.integers(0, 2 + i // 20)}",
        "item_id": f"i{draw.integers(0, 50):05}" if draw.random() < 0.9 else f"novelty{draw.integers(0, 2 + i // 60)}",
        "event": KINDS[int(draw.integers(0, len(KINDS)))],
        "time": int(NOW + i * 60 - (draw.integers(0, 2 * DAY) if draw.random() < 0.1 else 0)),
        "device": DEVICES[int(draw.integers(0, len(DEVICES)))] if draw.random() < 0.9 else f"gadget{i // 50}",
    }
    return {**made, "value": float(draw.normal())} if draw.random() < 0.5 else made


def asked(draw: np.random.Generator, i: int) -> dict[str, Any]:
    """A request of somebody known, new, not there yet or never there."""
    users = [f"u{draw.integers(0, 60):05}", f"guest{draw.integers(0, 30)}", "stranger", 17, None]
    made: dict[str, Any] = {"user_id": users[int(draw.choice(5, p=[0.6, 0.25, 0.05, 0.05, 0.05]))], "context": {}}
    if draw.random() < 0.8:
        made["context"]["device"] = (
            DEVICES[int(draw.integers(0, 4))] if draw.random() < 0.7 else f"gadget{draw.integers(0, 9)}"
        )
    if draw.random() < 0.3:
        made["context"]["load"] = float(draw.random())
    if draw.random() < 0.7:
        made["time"] = int(NOW + i * 60 + draw.integers(-3600, 3600))
    if draw.random() < 0.3:
        made |= {"k": int(draw.integers(1, 30)), "exclude": [f"i{draw.integers(0, 50):05}", "novelty1"]}
    return {**made, "explain": bool(draw.random() < 0.1)}


def served(bundle: Path, log: Path, requests: int = REQUESTS, segment: int = 64) -> Path:
    """Random requests between random events."""
    draw = rng(0, "served")
    engine = Engine.load(bundle)
    recorder = engine.record(log, segment=segment)
    events = 0
    for i in range(requests):
        if draw.random() < 0.7:
            size = int(draw.integers(1, 6))
            engine.track([event(draw, events + j) for j in range(size)])
            events += size
        answer = engine.recommend(asked(draw, events))
        assert answer["request_id"] == f"{recorder.writer}-{i}"
    recorder.close()
    engine.track([event(draw, events)])  # after the record: not in it
    assert events > 1.5 * requests
    return log


def test_nothing_differs(made: tuple[Path, Path]) -> None:
    """The acceptance: 0 expected."""
    found = parity(*made)
    assert found.differences == 0, found.json()
    assert found.requests == REQUESTS
    assert found.rows > 5 * REQUESTS
    assert found.events > 500
    engine = Engine.load(made[0])
    assert set(engine.pipeline.columns) <= set(found.columns)
    assert {"score", "shown", "place"} <= set(found.columns)
    assert all(entry.rows == found.rows for entry in found.columns.values())
    shown = [
        row
        for part in (made[1] / "requests").iterdir()
        for row in pl.read_parquet(part / "rows.parquet")["shown"].to_list()
    ]
    assert max(shown) >= 10
    assert 0 in shown


def test_recording_changes_no_answer(made: tuple[Path, Path], tmp_path: Path) -> None:
    plain, recording = Engine.load(made[0]), Engine.load(made[0])
    recording.record(tmp_path / "log")
    draw = rng(1, "answers")
    for i in range(20):
        request, happened = asked(draw, i), [event(draw, i)]
        one, other = plain.recommend(request), recording.recommend(request)
        assert set(other) - set(one) == {"request_id"}
        assert one["items"] == other["items"]
        assert plain.track(happened) == recording.track(happened)


def spoil(path: Path, change: Any) -> None:
    """Rewrite a table of the record."""
    table: pl.DataFrame = change(pl.read_parquet(path))
    table.write_parquet(path)


def first(folder: Path, name: str) -> Path:
    return next(path for path in sorted(folder.glob("*/*/*")) if path.name == name)


def test_an_altered_value_is_found(small: tuple[Path, Path], copy: Path) -> None:
    """By one bit, in one cell: that cell alone."""
    path = first(copy, "rows.parquet")
    table = pl.read_parquet(path)
    values = table["score"].to_numpy().copy()
    name = "positive/item/6h"
    column = table[name].to_numpy().copy()
    column[7] = np.nextafter(column[7], np.float32(np.inf))
    table.with_columns(pl.Series(name, column)).write_parquet(path)
    found = parity(small[0], copy)
    assert found.differences == 1
    assert found.columns[name].mismatches == 1
    example = found.columns[name].example
    assert example is not None
    assert example["item_id"] == table["item_id"][7]
    assert example["recorded"] == column[7] != example["recomputed"]
    assert len(values) == len(table)


def test_a_missing_row_is_found(small: tuple[Path, Path], copy: Path) -> None:
    """A row that was scored but is not in the record: it is extra when computed again, and those below it move up."""
    spoil(first(copy, "rows.parquet"), lambda table: table.with_row_index().filter(pl.col("index") != 4).drop("index"))
    found = parity(small[0], copy)
    assert (found.extra_rows, found.missing_rows) == (1, 0)
    assert found.columns["place"].mismatches > 0
    assert found.differences == 1 + found.columns["place"].mismatches
    assert any("not recorded" in line for line in found.example_rows)


def test_a_row_too_many_is_found(small: tuple[Path, Path], copy: Path) -> None:
    def more(table: pl.DataFrame) -> pl.DataFrame:
        last = (
            table.filter(pl.col("serial") == table["serial"].max()).tail(1).with_columns(item_id=pl.lit("no such item"))
        )
        return pl.concat([table, last])

    spoil(first(copy, "rows.parquet"), more)
    found = parity(small[0], copy)
    assert (found.extra_rows, found.missing_rows, found.differences) == (0, 1, 1)


@pytest.mark.parametrize("which", [0, 9, -1])
def test_a_missing_request_is_found(small: tuple[Path, Path], copy: Path, which: int) -> None:
    spoil(
        first(copy, "requests.parquet"),
        lambda table: table.with_row_index().filter(pl.col("index") != which % len(table)).drop("index"),
    )
    found = parity(small[0], copy)
    assert (found.missing_requests, found.differences, found.requests) == (1, 1, FEW - 1)


def test_a_missing_segment_is_found(small: tuple[Path, Path], copy: Path) -> None:
    shutil.rmtree(first(copy, "requests.parquet").parent)
    assert parity(small[0], copy).missing_requests == 16


def test_a_missing_event_segment_is_one_line(small: tuple[Path, Path], copy: Path) -> None:
    segments = sorted((copy / "events").iterdir())
    assert len(segments) > 2
    shutil.rmtree(segments[1])
    with pytest.raises(BundleError, match=r"the events at log positions \d+ to \d+ are not in the record"):
        parity(small[0], copy)
    shutil.rmtree(segments[-1])
    for path in segments[2:-1]:
        shutil.rmtree(path)
    with pytest.raises(BundleError, match="was answered at log position"):
        parity(small[0], copy)


def test_an_altered_event_is_found(small: tuple[Path, Path], copy: Path) -> None:
    """Its features are not what was served."""
    spoil(
        first(copy, "events.parquet"), lambda table: table.with_columns(item_id=pl.lit("i00003"), event=pl.lit("click"))
    )
    assert parity(small[0], copy).differences > 0


def test_another_recipe_is_found(small: tuple[Path, Path], tmp_path: Path) -> None:
    """Another horizon of one family: a column of another name, others of other values, and another bundle."""
    features = [entry for entry in FEATURES if entry["type"] != "counts"]
    other = bundle(tmp_path / "bundle", feature=[*features, {"type": "counts", "half_life": ["12h"]}])
    found = parity(other, small[1])
    assert found.recorded_by == Bundle.load(small[0]).name != found.bundle
    assert "positive/item/12h" in found.extra_columns
    assert "positive/item/6h" in found.missing_columns
    assert found.columns["score"].mismatches > 0
    assert found.columns["clock.hour"].mismatches == 0
    assert found.columns["clock.hour"].rows > 0


def test_several_writers(small: tuple[Path, Path], tmp_path: Path) -> None:
    """Two workers that fold the same events record into one folder, each in its own pieces."""
    draw = rng(2, "workers")
    workers = [Engine.load(small[0]) for _ in range(2)]
    recorders = [workers[i].record(tmp_path / "log", writer=f"w{i}", segment=7) for i in range(2)]
    for i in range(60):
        happened = [event(draw, 3 * i + j) for j in range(3)]
        for worker in workers:
            for some in (happened[:1], happened[1:]) if worker is workers[0] else (happened,):
                worker.track(some)
        workers[int(draw.integers(0, 2))].recommend(asked(draw, 3 * i))
        if draw.random() < 0.2:
            recorders[int(draw.integers(0, 2))].flush()
    for recorder in recorders:
        recorder.close()
    found = parity(small[0], tmp_path / "log")
    assert (found.differences, found.requests, found.events) == (0, 60, 180)
    last = sorted((tmp_path / "log" / "events").glob("*-w1"))[-1]
    spoil(last / "events.parquet", lambda table: table.with_columns(time=pl.col("time") + 1))
    with pytest.raises(BundleError, match="other events than another writer saw"):
        parity(small[0], tmp_path / "log")


def test_a_full_allowance_stops_the_record(small: tuple[Path, Path], tmp_path: Path) -> None:
    """It ends whole, and the service goes on."""
    engine = Engine.load(small[0])
    recorder = engine.record(tmp_path / "log", segment=5, gigabytes=1e-6)
    for i in range(20):
        assert engine.recommend(asked(rng(3, "full", i), i))["items"]
    assert recorder.stopped
    found = parity(small[0], tmp_path / "log")
    assert (found.requests, found.differences) == (5, 0)


def test_bad_folders_are_one_line(small: tuple[Path, Path], tmp_path: Path) -> None:
    engine = Engine.load(small[0])
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match="is no record and holds other things"):
        engine.record(tmp_path)
    with pytest.raises(BundleError, match="is not a record"):
        parity(small[0], tmp_path)
    engine.record(tmp_path / "log")
    about = json.loads((tmp_path / "log" / record.ABOUT).read_text())
    (tmp_path / "log" / record.ABOUT).write_text(json.dumps({**about, "bundle": "another"}))
    with pytest.raises(BundleError, match="holds the record of bundle another"):
        engine.record(tmp_path / "log")
    with pytest.raises(ConfigError, match="in memory only"):
        Engine.of(Bundle.load(small[0])).__class__(engine.pipeline, engine.state).record(tmp_path / "new")
    with pytest.raises(ConfigError, match="writer 'a-b'"):
        engine.record(tmp_path / "new", writer="a-b")


def test_same_is_bit_for_bit() -> None:
    one = np.array([0.0, np.nan, 1.0, np.inf], dtype=np.float32)
    other = np.array([-0.0, -np.nan, 1.0, np.inf], dtype=np.float32)
    assert same(one, other).tolist() == [False, True, True, True]
    assert same(np.array([1, 2]), np.array([1, 3])).tolist() == [True, False]


def test_the_command(small: tuple[Path, Path], copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["parity", str(small[0]), "--log", str(small[1])]) == 0
    assert "0 differences in 60 requests" in capsys.readouterr().out
    spoil(first(copy, "rows.parquet"), lambda table: table.with_columns(pl.col("score") + 1))
    assert main.run(["parity", str(small[0]), "--log", str(copy)]) == 1
    assert "score" in capsys.readouterr().out
    assert main.run(["parity", str(small[0]), "--log", str(copy), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["columns"]["score"]["mismatches"] == told["differences"] > 0
    assert main.run(["parity", str(small[0]), "--log", str(copy / "nowhere")]) == 2
    assert "is not a record" in capsys.readouterr().err
