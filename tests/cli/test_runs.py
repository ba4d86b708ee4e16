"""The commands that run a recipe, on a small shop: what they print, what they write, what they refuse."""

import json
import shlex
from pathlib import Path

import polars as pl
import pytest

from shortlist.cli import demo, main
from shortlist.cli.reading import recipe_at
from shortlist.cli.recipes import FOLDERS, built_in
from shortlist.cli.recommend import read_ids
from shortlist.core.errors import ConfigError
from shortlist.core.units import iso
from shortlist.data.synthetic import World, world
from shortlist.pipeline import config
from shortlist.serve.engine import Engine

RECIPE = """
title = "a small shop"
[data]
positive = ["click"]
[timeline]
test = 0.8
window = 0.1
cutoffs = 2
[evaluate]
resamples = 50
[[source]]
type = "popular"
half_life = "1d"
[[source]]
type = "itemknn"
[[feature]]
type = "counts"
[[ranker]]
type = "linear"
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tables of a small shop and a recipe."""
    folder = tmp_path_factory.mktemp("shop")
    for title, table in world(users=150, items=60, days=10).tables.parts().items():
        table.write_parquet(folder / f"{title}.parquet")
    (folder / "recipe.toml").write_text(RECIPE)
    return folder


def backtest(shop: Path, out: Path, *more: str) -> int:
    return main.run(["backtest", str(shop / "recipe.toml"), "--data", str(shop), "--out", str(out), *more])


def one_line(captured: pytest.CaptureFixture[str]) -> str:
    out, err = captured.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("shortlist: ")
    return err


def test_backtest_shows_and_writes(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert backtest(shop, tmp_path / "run") == 0
    out, err = capsys.readouterr()
    for system in ("pipeline", "source:popular", "source:itemknn"):
        assert system in out
    assert "misranked" in out
    assert "best source" in out
    assert str(tmp_path / "run" / "report.html") in out
    assert "fit" in err
    written = {path.name for path in (tmp_path / "run").iterdir()}
    files = (
        "metrics.json",
        "funnel.json",
        "requests.parquet",
        "recommendations.parquet",
        "details.json",
        "recipe.json",
    )
    assert written >= {*files, "report.html"}


def test_json_is_what_was_written(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert backtest(shop, tmp_path / "run", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "run" / "metrics.json").read_text())


def test_two_runs_are_equal_and_can_be_compared(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert backtest(shop, tmp_path / "a") == 0
    assert backtest(shop, tmp_path / "b", "--seed", "0") == 0
    assert backtest(shop, tmp_path / "c", "--set", "source.popular.half_life='1h'", "--set", "pipeline.pool=20") == 0
    for name in ("recommendations.parquet", "requests.parquet", "recipe.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    command = shlex.split(json.loads((tmp_path / "c" / "metrics.json").read_text())["command"])
    assert command[-4:] == ["--set", "source.popular.half_life='1h'", "--set", "pipeline.pool=20"]
    assert command[:2] == ["shortlist", "backtest"]
    kept = json.loads((tmp_path / "c" / "recipe.json").read_text())
    assert kept["pipeline"]["pool"] == 20
    capsys.readouterr()
    assert main.run(["compare", str(tmp_path / "a"), str(tmp_path / "c"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["paired"]) == {"c - a"}
    assert main.run(["compare", str(tmp_path / "a"), str(tmp_path / "c"), "--system", "source:popular"]) == 0
    assert "c - a" in capsys.readouterr().out
    assert main.run(["compare", str(tmp_path / "a")]) == 2
    one_line(capsys)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("pipeline.pol=20", "did you mean 'pool'"),
        ("source.popluar.half_life='1h'", "popluar"),
        ("no equals sign", "key.path=value"),
        ("timeline.test='2030-01-01'", "timeline.test"),
        ("data.positive=['clik']", "clik"),
        ("timeline.cutoffs.x=1", "'cutoffs' is a value, not a table"),
        ("timeline.cutoffs.x.y=1", "'cutoffs' is a value, not a table"),
        ("evaluate.k=[]", "evaluate.k"),
        ("evaluate.k=[10, 0]", "evaluate.k"),
    ],
)
def test_a_bad_override_is_one_line(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str, said: str
) -> None:
    assert backtest(shop, tmp_path / "run", "--set", change) == 2
    assert said in one_line(capsys)
    assert not (tmp_path / "run").exists()


def test_a_folder_with_other_things_is_not_replaced(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert backtest(shop, tmp_path) == 2
    assert str(tmp_path) in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_missing_recipe_is_one_line(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["backtest", "nowhere.toml", "--data", str(shop), "--out", str(tmp_path / "run")]) == 2
    assert "nowhere.toml" in one_line(capsys)


def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo's own recipe on a smaller world."""

    def small(seed: int) -> World:
        return world(seed, users=150, items=60, days=14)

    monkeypatch.setattr(demo, "world", small)
    bundle = tmp_path / "bundle"
    assert main.run(["demo", "--out", str(tmp_path / "run"), "--seed", "3", "--bundle", str(bundle)]) == 0
    engine = Engine.load(bundle)
    first = engine.recommend({"user_id": "somebody new", "k": 3})["items"]
    engine.track([{"user_id": "somebody new", "item_id": first[0]["item_id"], "event": "click"}])
    assert engine.recommend({"user_id": "somebody new", "k": 3})["items"] != first
    out, err = capsys.readouterr()
    assert "pipeline" in out
    assert "shortlist check FOLDER" in out
    assert "events" in err
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["seed"] == 3


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDERS[1].glob("*.toml")))
def test_every_recipe_that_comes_along_is_valid(name: str) -> None:
    recipe = config.read(built_in(name))
    assert recipe.sources or recipe.pipeline.candidates == "impressions"


def test_a_bare_word_is_a_recipe_that_comes_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert recipe_at(Path("generic")).title == "generic"
    (tmp_path / "generic").write_text(RECIPE)
    assert recipe_at(Path("generic")).title == "a small shop"
    with pytest.raises(ConfigError, match="no recipe 'demi'"):
        recipe_at(Path("demi"))


def test_an_unknown_recipe_names_the_choices() -> None:
    with pytest.raises(ConfigError, match=r"no recipe 'dmo'.*choices: .*demo"):
        built_in("dmo")


def test_fit_and_recommend(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle, out = tmp_path / "bundle", tmp_path / "lists" / "recs.parquet"
    assert main.run(["fit", str(shop / "recipe.toml"), "--data", str(shop), "--out", str(bundle), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bundle"] == str(bundle)
    assert main.run(["recommend", str(bundle), "--users", "all", "-k", "5", "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    everybody = pl.read_parquet(out)
    assert told["rows"] == len(everybody)
    assert everybody["rank"].max() == 5
    assert told["users"] == everybody["user_id"].n_unique() == 150

    some, ids = tmp_path / "some.csv", tmp_path / "ids.txt"
    ids.write_text("u00003\n\nu00007\nnobody\n")
    assert main.run(["recommend", str(bundle), "--users", str(ids), "-k", "5", "--out", str(some)]) == 0
    assert str(some) in capsys.readouterr().out
    few = pl.read_csv(some)
    assert set(few["user_id"]) == {"u00003", "u00007", "nobody"}
    for user in ("u00003", "u00007"):
        same = everybody.filter(pl.col("user_id") == user)["item_id"].to_list()
        assert few.filter(pl.col("user_id") == user)["item_id"].to_list() == same
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--users", "all", "--out", "recs.xlsx"], ".xlsx"),
        (["--users", "no-such-file.txt", "--out", "recs.csv"], "no-such-file.txt"),
        (["--users", "all", "--out", "recs.csv", "--time", "tomorrow"], "tomorrow"),
        (["--users", "all", "--out", "recs.csv", "--time=--5"], "'--5'"),
        (["--users", "all", "--out", "recs.csv"], "no-such-bundle"),
    ],
)
def test_a_bad_recommend_is_one_line(options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["recommend", "no-such-bundle", *options]) == 2
    assert said in one_line(capsys)


def test_a_folder_is_no_place_for_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "recs.csv").mkdir()
    assert main.run(["recommend", "no-such-bundle", "--users", "all", "--out", str(tmp_path / "recs.csv")]) == 2
    assert "recs.csv: is a folder; name a file" in one_line(capsys)


def test_ids_that_say_nothing_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(ConfigError, match="names no user"):
        read_ids(tmp_path / "empty.txt")
    (tmp_path / "twice.txt").write_text("b\na\n b\n")
    assert read_ids(tmp_path / "twice.txt") == ["b", "a"]
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not a text file"):
        read_ids(tmp_path / "binary.txt")


def test_the_training_frame_can_be_written(shop: Path, tmp_path: Path) -> None:
    """`fit --frame`: the same events give the same bytes, other events do not (tests/parity/test_leak.py is the leak test)."""
    events = pl.read_parquet(shop / "events.parquet").sort("time", maintain_order=True)
    written = {}
    for name, past in (("a", events), ("b", events), ("c", events.filter(pl.col("item_id") != events["item_id"][40]))):
        folder = tmp_path / name
        folder.mkdir()
        past.write_parquet(folder / "events.parquet")
        for table in ("items", "users"):
            pl.read_parquet(shop / f"{table}.parquet").write_parquet(folder / f"{table}.parquet")
        rows = tmp_path / f"{name}.parquet"
        command = ["fit", str(shop / "recipe.toml"), "--data", str(folder), "--out", str(tmp_path / f"{name}.bundle")]
        assert main.run([*command, "--frame", str(rows)]) == 0
        written[name] = rows.read_bytes()
    frame = pl.read_parquet(tmp_path / "a.parquet")
    assert {"cutoff", "user_id", "item_id", "time", "label", "score_popular"} <= set(frame.columns)
    assert frame["label"].sum() > 0
    assert written["a"] == written["b"] != written["c"]


def test_what_happens_after_the_test_date_changes_no_byte_of_the_frame(shop: Path, tmp_path: Path) -> None:
    """`backtest --frame`, as a user would look for a leak: other events after the date, the same training rows."""
    events = pl.read_parquet(shop / "events.parquet").sort("time", maintain_order=True)
    cut = int(events["time"].quantile(0.8) or 0)
    recipe = (
        (shop / "recipe.toml").read_text().replace("test = 0.8\nwindow = 0.1", f'test = "{iso(cut)}"\nwindow = "12h"')
    )
    (tmp_path / "recipe.toml").write_text(recipe)
    later = pl.col("time") >= cut
    worlds = {
        "as it was": events,
        "other future": events.with_columns(
            item_id=pl.when(later).then(pl.col("item_id").reverse()).otherwise(pl.col("item_id")),
            user_id=pl.when(later).then(pl.lit("newcomer-") + pl.col("user_id")).otherwise(pl.col("user_id")),
        ),
        "other past": events.with_columns(
            item_id=pl.when(~later).then(pl.col("item_id").reverse()).otherwise("item_id")
        ),
    }
    written = {}
    for name, table in worlds.items():
        folder = tmp_path / name
        folder.mkdir()
        table.write_parquet(folder / "events.parquet")
        rows = tmp_path / f"{name}.parquet"
        command = [
            "backtest",
            str(tmp_path / "recipe.toml"),
            "--data",
            str(folder),
            "--out",
            str(tmp_path / "runs" / name),
        ]
        assert main.run([*command, "--frame", str(rows)]) == 0
        written[name] = rows.read_bytes()
    assert written["as it was"] == written["other future"] != written["other past"]
