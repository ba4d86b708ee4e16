"""Comparing runs: the join, the paired figures, and one clear line for what cannot be compared."""

import io
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from shortlist.core.errors import ConfigError, DataError
from shortlist.core.rng import rng
from shortlist.experiment.compare import compare, table
from shortlist.metric.interval import paired

USERS = 400


def frame(seed: int, gain: float = 0.0, users: int = USERS) -> pl.DataFrame:
    """Two requests per user; ndcg of a shared difficulty plus a gain and some noise."""
    difficulty = np.repeat(rng(0, "difficulty").random(USERS), 2)[: 2 * users]
    noise = rng(seed, "noise").normal(0.0, 0.02, 2 * users)
    return pl.DataFrame(
        {
            "window": np.tile([0, 1], users),
            "user_id": [f"u{user:03}" for user in np.repeat(np.arange(users), 2)],
            "time": np.tile([1000, 2000], users),
            "slice": ["cold" if user % 4 == 0 else "warm" for user in np.repeat(np.arange(users), 2)],
            "targets": np.full(2 * users, 3),
            "pipeline/ndcg@10": (difficulty + gain + noise).astype(np.float32),
            "pipeline/mrr@10": np.zeros(2 * users, dtype=np.float32),
            "source:ease/ndcg@10": difficulty.astype(np.float32),
        }
    )


def save(folder: Path, requests: pl.DataFrame, data: str = "abc") -> Path:
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps({"data": data, "systems": {}}))
    requests.write_parquet(folder / "requests.parquet")
    return folder


def test_equals_the_paired_interval_of_the_columns(tmp_path: Path) -> None:
    first, second = frame(1), frame(2, gain=0.01)
    a, b = save(tmp_path / "a", first), save(tmp_path / "b", second.sample(fraction=1.0, shuffle=True, seed=0))
    got = compare([a, b])
    assert json.loads(json.dumps(got)) == got
    difference = got["paired"]["b - a"]
    columns = [table["pipeline/ndcg@10"].to_numpy().astype(float) for table in (first, second)]
    low, high = paired(columns[1], columns[0], first["user_id"].to_numpy())
    assert difference["value"] == pytest.approx(float((columns[1] - columns[0]).mean()))
    assert (difference["low"], difference["high"]) == (pytest.approx(float(low)), pytest.approx(float(high)))
    assert 0 < difference["low"] < 0.01 < difference["high"]
    assert got["requests"] == 2 * USERS
    assert got["slices"]["warm"]["requests"] == 2 * USERS * 3 // 4
    assert list(got["slices"]) == ["warm", "cold"]


def test_only_shared_requests_count(tmp_path: Path) -> None:
    a, b = save(tmp_path / "a", frame(1)), save(tmp_path / "b", frame(1, users=100))
    got = compare([a, b])
    assert got["requests"] == 200
    assert got["left_out"] == {"a": 2 * USERS - 200, "b": 0}
    shared = frame(1).head(200)["pipeline/ndcg@10"].cast(pl.Float64).mean()
    assert got["systems"]["a"]["value"] == pytest.approx(shared)


def test_equal_keys_are_paired_in_order(tmp_path: Path) -> None:
    """Two requests of one user in one second must not become four."""
    twice = frame(1).with_columns(window=pl.lit(0), time=pl.lit(5))
    a, b = save(tmp_path / "a", twice), save(tmp_path / "b", twice)
    got = compare([a, b])
    assert got["requests"] == 2 * USERS
    assert got["paired"]["b - a"] == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_the_first_runs_main_figure_is_compared(tmp_path: Path) -> None:
    """GAUC where impressions were given, else NDCG, at whatever cut-off there is."""
    given = frame(1).with_columns(pl.col("pipeline/ndcg@10").alias("pipeline/gauc"))
    five = frame(1).rename({"pipeline/ndcg@10": "pipeline/ndcg@5"})
    for name, one, expected in (("shown", given, "gauc"), ("found", frame(1), "ndcg@10"), ("five", five, "ndcg@5")):
        runs = [save(tmp_path / name / side, one) for side in "ab"]
        assert compare(runs)["metric"] == expected
        assert compare(runs, "mrr@10")["metric"] == "mrr@10"


def test_other_systems_and_more_runs(tmp_path: Path) -> None:
    runs = [save(tmp_path / name / "run", frame(i)) for i, name in enumerate("xyz")]
    got = compare(runs, system="source:ease")
    assert list(got["systems"]) == [str(run) for run in runs]
    assert len(got["paired"]) == 3
    assert all(figure["value"] == 0.0 for figure in got["paired"].values())


def test_integer_and_text_ids_are_one_id(tmp_path: Path) -> None:
    numbers = frame(1).with_columns(user_id=pl.col("user_id").str.slice(1).cast(pl.Int64))
    text = numbers.with_columns(user_id=pl.col("user_id").cast(pl.String))
    assert compare([save(tmp_path / "a", numbers), save(tmp_path / "b", text)])["requests"] == 2 * USERS


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    a = save(tmp_path / "a", frame(1))
    with pytest.raises(DataError, match="at least two runs"):
        compare([a])
    with pytest.raises(DataError, match="nowhere: not a run folder: there is no such folder"):
        compare([a, tmp_path / "nowhere"])
    with pytest.raises(DataError, match=r"it has no metrics\.json"):
        compare([a, tmp_path])
    with pytest.raises(DataError, match=r"measured on other data \(xyz\)"):
        compare([a, save(tmp_path / "b", frame(1), data="xyz")])
    later = frame(1).with_columns(time=pl.col("time") + 1)
    with pytest.raises(DataError, match="no request is in all of the runs a, c"):
        compare([a, save(tmp_path / "c", later)])
    with pytest.raises(DataError, match="800 of 800 shared requests have other targets"):
        compare([a, save(tmp_path / "d", frame(1).with_columns(targets=pl.lit(4)))])
    with pytest.raises(DataError, match="a: given twice"):
        compare([a, tmp_path / "c" / ".." / "a"])
    other = save(tmp_path / "f", frame(2))
    with pytest.raises(ConfigError, match=r"unknown metric 'ndcg@5' of pipeline; choices: ndcg@10, mrr@10"):
        compare([a, other], metric="ndcg@5")
    with pytest.raises(ConfigError, match="unknown system 'source:ials'; choices: pipeline, source:ease"):
        compare([a, other], system="source:ials")
    with pytest.raises(DataError, match="no column 'slice'"):
        compare([a, save(tmp_path / "e", frame(1).drop("slice"))])
    (tmp_path / "e" / "requests.parquet").unlink()
    with pytest.raises(DataError, match=r"no requests\.parquet"):
        compare([a, tmp_path / "e"])
    (tmp_path / "e" / "metrics.json").write_text("{")
    with pytest.raises(DataError, match="not JSON"):
        compare([a, tmp_path / "e"])


def test_the_table_tells_it_all(tmp_path: Path) -> None:
    a, b = save(tmp_path / "a", frame(1)), save(tmp_path / "b", frame(2, gain=0.01, users=100))
    console = Console(file=io.StringIO(), width=200, no_color=True)
    console.print(table(compare([a, b])))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    for piece in ("ndcg@10 over 200 shared requests", "b - a", "+0.0", "warm (150)", "cold (50)", "600 of a"):
        assert piece in text
