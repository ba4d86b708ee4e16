"""The command `features`: the table, the frozen recipe, one value explained, and what it refuses."""

import json
from pathlib import Path

import pytest

from shortlist.cli import main
from shortlist.core.units import iso
from shortlist.data.synthetic import START, world
from shortlist.pipeline.config import read

RECIPE = """
title = "a small shop"
[data]
positive = ["click"]
context = ["device"]
[timeline]
test = 0.8
window = 0.1
cutoffs = 2
[[source]]
type = "popular"
half_life = "1d"
[[feature]]
type = "auto"
families = ["clock", "counts", "attributes"]
[[ranker]]
type = "catboost"
iterations = 10
threads = 1
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tables of a small shop and a recipe."""
    folder = tmp_path_factory.mktemp("shop")
    for title, table in world(users=100, items=40, days=8).tables.parts().items():
        table.write_parquet(folder / f"{title}.parquet")
    (folder / "recipe.toml").write_text(RECIPE)
    return folder


def features(shop: Path, *more: str) -> int:
    return main.run(["features", str(shop / "recipe.toml"), "--data", str(shop), *more])


def test_the_table_comes_after_the_choice(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert features(shop) == 0
    out = capsys.readouterr().out
    assert out.startswith("auto chose attributes (attributes): ")
    assert out.index("auto chose clock") < out.index("Columns, the largest gain first") < out.index("Families")
    for text in (
        "clock.hour",
        "item.category",
        "score_popular",
        "population stability index",
        "KB per user",
        "decay(by=item",
    ):
        assert text in out


def test_as_json_and_frozen(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What --set and --seed say is not in the file, and said so."""
    frozen = tmp_path / "made" / "frozen.toml"
    changes = ["--set", "feature.auto.half_life=['1d']", "--set", "pipeline.pool=20", "--seed", "5"]
    assert features(shop, "--json", "--freeze", str(frozen), *changes) == 0
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert {"chosen", "columns", "families", "memory", "totals", "notes"} == set(told)
    assert {row["gain"] is not None for row in told["columns"]} == {True}
    assert "is not in the frozen recipe" in err
    recipe = read(frozen)
    assert list(recipe.features) == [one["entry"]["name"] for one in told["chosen"]]
    assert recipe.features["counts"].half_life == ["1d"]
    assert recipe.pipeline.pool != 20
    again = read(frozen, ["pipeline.pool=20", "seed=5"])
    assert again.pipeline.pool == 20


def test_the_recipe_of_the_demo(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By its bare name, on a small shop: every family of it has columns, and all columns have a line."""
    small = ["--set", "ranker.catboost.iterations=10", "--set", "train.requests=60", "--set", "timeline.window=1d"]
    assert main.run(["features", "demo", "--data", str(shop), "--json", *small]) == 0
    told = json.loads(capsys.readouterr().out)
    families = {row["family"] for row in told["columns"]}
    assert {"attributes", "counts", "shown", "recency", "pair"} < families
    assert {"score_popular_6h", "score_ease", "impression/item/1d"} < {row["column"] for row in told["columns"]}
    assert told["chosen"] == []


def test_one_value(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--explain", "item.category", "--user", "u00003", "--item", "i00007", "--time", iso(START + 600_000)]
    assert features(shop, *asked, "--json") == 0
    why = json.loads(capsys.readouterr().out)
    assert (why["column"], why["family"], why["user"]) == ("item.category", "attributes", "u00003")
    assert features(shop, *asked) == 0
    assert f"category = {why['row']['category']}" in capsys.readouterr().out
    asked = ["--explain", "positive/item/1d", "--user", "u00003", "--item", "i00007", "--time", str(START + 600_000)]
    assert features(shop, *asked, "--context", "device=phone", "--set", "feature.auto.half_life=['1d']") == 0
    out = capsys.readouterr().out
    assert "read from decay(by=item, event=click" in out
    assert "together they add" in out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--explain", "clock.hour", "--user", "u00003"], "--item, --time must be given as well"),
        (["--user", "u00003"], "belong to --explain"),
        (["--context", "device=phone"], "belong to --explain"),
        (["--freeze", "frozen.json"], ".toml file"),
        (["--explain", "x", "--user", "u", "--item", "i", "--time", "0", "--freeze", "f.toml"], "two jobs"),
        (["--explain", "x", "--user", "u", "--item", "i", "--time", "noon"], "not a time: 'noon'"),
        (
            ["--explain", "clock.hour", "--user", "u00003", "--item", "i00007", "--time", "0", "--context", "phone"],
            "name=value",
        ),
        (
            ["--explain", "clock.our", "--user", "u00003", "--item", "i00007", "--time", "0"],
            "did you mean 'clock.hour'?",
        ),
        (
            ["--explain", "clock.hour", "--user", "nobody", "--item", "i00007", "--time", "0"],
            "--user: unknown user 'nobody'",
        ),
        (["--set", "feature.auto.families=['no such']"], "'no such' is not proposed"),
    ],
)
def test_a_bad_call_is_one_line(shop: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str) -> None:
    assert features(shop, *options) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert said in err
