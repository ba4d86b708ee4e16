"""The command `tune`: quotas, the copy of the recipe, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest

from shortlist.cli import main
from shortlist.data.synthetic import world
from shortlist.data.timeline import Split
from shortlist.experiment.requote import requoted
from shortlist.experiment.tune import earlier
from shortlist.pipeline.config import read

RECIPE = """
title = "a small shop"   # the title stays

[data]
positive = ["click"]

[timeline]
test = 0.8
window = 0.1
cutoffs = 3

[pipeline]
k = 5

[[source]]   # what everybody likes
type = "popular"
half_life = "1d"
quota = 10   # a guess

[[source]]
type = "itemknn"

[[source]]
name = "dice"
type = "random"
quota = { cold = 3, light = 3, heavy = 3 }

[[feature]]
type = "counts"

[[ranker]]
type = "linear"
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tables of a small shop and a recipe."""
    folder = tmp_path_factory.mktemp("shop")
    for title, table in world(users=150, items=60, days=8).tables.parts().items():
        table.write_parquet(folder / f"{title}.parquet")
    (folder / "recipe.toml").write_text(RECIPE)
    return folder


def tuned(shop: Path, *more: str) -> int:
    return main.run(["tune", str(shop / "recipe.toml"), "--data", str(shop), *more])


def test_quotas_are_told_and_written(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = shop / "tuned.toml"
    assert tuned(shop, "--pool", "15", "--json", "--out", str(out)) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["quotas"]) == {"popular", "itemknn", "dice"}
    whole, held = told["judged"]
    assert whole["size"] <= 15 < whole["size"] + 3
    assert whole["recall"] >= whole["equal_recall"]
    assert held["windows"].startswith("held back")
    assert [row["source"] for row in told["sources"]] == ["popular", "itemknn", "dice"]
    for row in told["sources"]:
        assert row["marginal_recall"] <= row["recall"] <= whole["recall"] + 1e-12
        assert row["ms"] > 0
    made = read(out)
    assert made.quotas == {name: quota for name, quota in told["quotas"].items() if quota}
    assert made.pipeline.pool == told["pool"]
    assert made.pipeline.k == 5
    text = out.read_text()
    assert "# the title stays" in text
    assert "# what everybody likes" in text


def test_segments_and_a_time(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        tuned(shop, "--ms", "50", "--segments", "--json", "--requests", "100", "--set", "pipeline.segments=[2, 6]") == 0
    )
    told = json.loads(capsys.readouterr().out)
    assert any(isinstance(quota, dict) and len(set(quota.values())) > 1 for quota in told["quotas"].values())
    assert told["cost"]["candidate"] > 0
    assert tuned(shop, "--requests", "50") == 0
    assert "marginal_recall" in capsys.readouterr().out


def test_a_window_that_overlaps_the_newest_does_not_choose_what_is_judged_on_it() -> None:
    def made(*spans: tuple[int, int]) -> list[Split]:
        return [Split(start, start, stop) for start, stop in spans]

    assert earlier(made((0, 10), (10, 20), (20, 30))) == 2
    assert earlier(made((0, 10), (5, 15), (10, 20))) == 1
    assert earlier(made((0, 10), (5, 15))) == 0
    # Leave-one-out: all stand at the end of the log, with answers of their own.
    assert earlier([Split(9, 30, 30, dropped=np.arange(3)), Split(9, 30, 30, dropped=np.arange(2))]) == 1


def test_windows_that_all_overlap_are_not_judged_held_back(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tuned(shop, "--pool", "15", "--json", "--set", "timeline.cutoffs=2", "--set", "timeline.step=0.05") == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["windows"] for row in told["judged"]] == ["all label windows"]
    assert any("No label window ended before the newest began" in note for note in told["notes"])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--pool", "10", "--ms", "2"], "a pool and a time are two budgets"),
        (["--ms", "0.0000001"], "are not enough to ask any source; the cheapest takes"),
        (["--out", "tuned.txt"], "a recipe is a .toml file"),
        (["--set", 'pipeline.candidates="impressions"'], "no source finds anything there"),
    ],
)
def test_what_is_refused(shop: Path, more: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert tuned(shop, *more) == 2
    assert said in capsys.readouterr().err


def test_the_copy_differs_in_quotas_and_pool_only() -> None:
    text = requoted(RECIPE, {"popular": 7, "itemknn": {"cold": 0, "light": 4, "heavy": 9}, "dice": 0}, 44)
    wanted = RECIPE.replace("quota = 10   # a guess", "quota = 7   # a guess")
    wanted = wanted.replace('type = "itemknn"\n', 'type = "itemknn"\n').replace(
        '[[source]]\ntype = "itemknn"', '[[source]]\nquota = { cold = 0, light = 4, heavy = 9 }\ntype = "itemknn"'
    )
    wanted = wanted.replace("[pipeline]\nk = 5", "[pipeline]\npool = 44\nk = 5")
    dice = '[[source]]\nname = "dice"\ntype = "random"\nquota = { cold = 3, light = 3, heavy = 3 }'
    left_out = "\n".join(f"# {line}" for line in dice.splitlines())
    wanted = wanted.replace(dice, f"# Left out by tune: it brings nothing at this budget.\n{left_out}")
    assert text == wanted


def test_a_recipe_without_a_pipeline_table_gets_one() -> None:
    text = requoted('[[source]]\ntype = "popular"\n', {"popular": 3}, 9)
    assert text == '[[source]]\nquota = 3\ntype = "popular"\n\n[pipeline]\npool = 9\n'
