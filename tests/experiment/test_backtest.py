"""The backtest: the same run twice is the same files, the files hold what is documented, and small or poor data are no crash."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from shortlist.cli import main
from shortlist.cli.recipes import built_in
from shortlist.core.errors import BundleError, ConfigError, ShortlistError
from shortlist.core.rng import rng
from shortlist.data.dataset import Dataset, encode, from_frames
from shortlist.data.synthetic import START
from shortlist.experiment.backtest import backtest
from shortlist.pipeline.config import Recipe, parse, read
from tests.parity.worlds import DAY, RANKERS, recipe, shop

FILES = {
    "metrics.json", "funnel.json", "details.json", "recipe.json", "recommendations.parquet", "requests.parquet", "report.html",
}  # fmt: skip
# Figures that say how long something took, or how much memory: the only ones that two runs may differ in.
TIMINGS = {"seconds", "peak_rss_mb", "ms_per_request"}


@pytest.fixture(scope="module")
def data() -> Dataset:
    return encode(shop())


@pytest.fixture(scope="module")
def run(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run of everything over two rolling windows."""
    folder = tmp_path_factory.mktemp("backtest") / "run"
    backtest(chosen(), data, folder)
    return folder


def chosen(**changes: Any) -> Recipe:
    """Everything, two rolling test windows."""
    return recipe(timeline={"windows": 2, "cutoffs": 2, "until": "2024-01-10"}, evaluate={"k": [10, 5]}, **changes)


def loaded(folder: Path, name: str) -> Any:
    """A JSON file; NaN and infinities, which JSON does not have, are refused."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{name} holds {word}")

    return json.loads((folder / name).read_text(encoding="utf-8"), parse_constant=refuse)


def timeless(value: Any) -> Any:
    """A JSON value without timings."""
    if isinstance(value, dict):
        return {key: timeless(entry) for key, entry in value.items() if key not in TIMINGS}
    return [timeless(entry) for entry in value] if isinstance(value, list) else value


def test_a_run_has_all_its_files(run: Path) -> None:
    assert {path.name for path in run.iterdir()} == FILES


def test_two_runs_are_the_same_files(run: Path, data: Dataset, tmp_path: Path) -> None:
    """Byte for byte, figures too but for timings; another seed is another run."""
    backtest(chosen(), encode(shop()), tmp_path / "again")
    for name in ("recommendations.parquet", "requests.parquet", "recipe.json"):
        assert (tmp_path / "again" / name).read_bytes() == (run / name).read_bytes(), name
    for name in ("metrics.json", "funnel.json", "details.json"):
        assert timeless(loaded(tmp_path / "again", name)) == timeless(loaded(run, name)), name
    other = chosen()
    other.seed = 7
    backtest(other, data, tmp_path / "other")
    assert (tmp_path / "other" / "recommendations.parquet").read_bytes() != (
        run / "recommendations.parquet"
    ).read_bytes()


def test_metrics_hold_what_is_documented(run: Path) -> None:
    metrics = loaded(run, "metrics.json")
    assert set(metrics) == {
        "data", "name", "title", "timeline", "requests", "systems", "paired", "seconds", "peak_rss_mb", "command",
    }  # fmt: skip
    sources = list(chosen().sources)
    assert list(metrics["systems"]) == ["pipeline", *(f"source:{name}" for name in sources)]
    assert list(metrics["paired"]) == [f"pipeline - source:{name}" for name in sources]
    per_k = ("ndcg", "hitrate", "mrr", "recall", "precision", "map", "novelty", "coverage", "gini")
    wanted = {f"{name}@{k}" for name in per_k for k in (10, 5)} | {"precision@1", "slices"}
    for name, system in metrics["systems"].items():
        assert set(system) == wanted, name
        assert set(system["slices"]) == {"warm", "cold"}, "both kinds of users are in the test"
        for metric, figure in system.items():
            if metric != "slices":
                assert set(figure) == {"value", "low", "high"}
                assert figure["value"] is not None
    assert set(metrics["seconds"]) == {"fit", "recommend", "total"}
    assert metrics["timeline"]["test"] == [
        ["2024-01-08T00:00:00", "2024-01-09T00:00:00"],
        ["2024-01-09T00:00:00", "2024-01-10T00:00:00"],
    ]
    assert metrics["timeline"]["cutoffs"] == ["2024-01-07T00:00:00", "2024-01-08T00:00:00"]
    assert metrics["requests"] == len(pl.read_parquet(run / "requests.parquet"))


def test_the_funnel_holds_what_is_documented(run: Path) -> None:
    funnel = loaded(run, "funnel.json")
    assert set(funnel) == {
        "sources", "stages", "oracle_ndcg@10", "recall@pool", "pool_size", "targets", "ms_per_request", "guard",
    }  # fmt: skip
    assert list(funnel["sources"]) == list(chosen().sources)
    for source in funnel["sources"].values():
        assert set(source) == {"recall@pool", "marginal_recall", "unique_hits", "ms_per_request"}
    assert list(funnel["stages"]) == ["missed", "filtered", "misranked", "ruled_out", "hit"]
    assert sum(funnel["stages"].values()) == pytest.approx(1.0, abs=1e-12)
    assert set(funnel["guard"]) == {"verdict", "mode", "metric", "validation", "best_source", "difference"}
    assert funnel["targets"] == int(pl.read_parquet(run / "requests.parquet")["targets"].sum())


def test_answers_and_figures_agree(run: Path, data: Dataset) -> None:
    """NDCG@10 and the hit rate once more, from the written answers and the log, by plain loops."""
    answers = pl.read_parquet(run / "recommendations.parquet")
    assert answers.columns == ["user_id", "item_id", "rank", "score", "source", "time", "window"]
    requests = pl.read_parquet(run / "requests.parquet")
    events = shop().events.filter(pl.col("event") == "click")
    figures = []
    for window, user, ndcg, hit in requests.select(
        "window", "user_id", "pipeline/ndcg@10", "pipeline/hitrate@10"
    ).iter_rows():
        own = events.filter(
            (pl.col("user_id") == user) & pl.col("time").is_between(window, window + DAY, closed="left")
        )
        targets = set(own["item_id"])
        shown = answers.filter((pl.col("user_id") == user) & (pl.col("window") == window)).sort("rank")
        assert shown["rank"].to_list() == list(range(1, len(shown) + 1))
        places = [place for place, item in enumerate(shown["item_id"]) if item in targets]
        best = sum(1 / math.log2(place + 2) for place in range(min(len(targets), 10)))
        expected = sum(1 / math.log2(place + 2) for place in places) / best
        assert ndcg == pytest.approx(expected, rel=1e-5)
        assert hit == float(bool(places))
        figures.append(expected)
    value = loaded(run, "metrics.json")["systems"]["pipeline"]["ndcg@10"]["value"]
    assert value == pytest.approx(np.mean(figures), rel=1e-5)
    assert value > 0


def test_rolling_windows_inherit_nothing(run: Path, data: Dataset, tmp_path: Path) -> None:
    """A window's answers are those of a run that has this window only."""
    alone = recipe(timeline={"cutoffs": 2, "until": "2024-01-10"}, evaluate={"k": [10, 5]})
    backtest(alone, data, tmp_path / "alone")
    last = pl.read_parquet(run / "recommendations.parquet").filter(pl.col("window") == START + 8 * DAY)
    assert last.equals(pl.read_parquet(tmp_path / "alone" / "recommendations.parquet"))


def test_the_recipe_of_a_run_runs_again(run: Path, data: Dataset, tmp_path: Path) -> None:
    """recipe.json holds every default: read back, it gives the same run."""
    backtest(parse(loaded(run, "recipe.json")), data, tmp_path / "again")
    name = "recommendations.parquet"
    assert (tmp_path / "again" / name).read_bytes() == (run / name).read_bytes()


def test_a_folder_with_other_things_is_refused_before_any_work(data: Dataset, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match=r"other things in it \(no metrics.json\)"):
        backtest(chosen(), data, tmp_path, progress=refused)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def refused(*_: Any) -> Any:
    raise AssertionError("work was begun")


def test_a_run_that_fails_leaves_the_older_one(data: Dataset, tmp_path: Path, run: Path) -> None:
    """An error half-way: the older run stays, and nothing else."""
    target = tmp_path / "run"
    backtest(small(), data, target)
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    broken = small(source=[{"type": "ease", "memory_mb": 1, "max_items": 10_000}, {"type": "popular"}])
    broken.sources["ease"].memory_mb = 0
    with pytest.raises(ConfigError, match="memory_mb"):
        backtest(broken, data, target)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def small(**changes: Any) -> Recipe:
    """A recipe that is quick."""
    base: dict[str, Any] = {
        "timeline": {"test": 0.8, "cutoffs": 1},
        "evaluate": {"resamples": 20},
        "source": [{"type": "popular"}, {"type": "itemknn"}],
        "feature": [{"type": "counts"}],
        "ranker": [{"type": "linear"}],
    }
    return parse({**base, **changes})


def generic(**changes: str) -> Recipe:
    """The recipe that comes along for data of one's own, with fewer trees."""
    overrides = ["ranker.catboost.iterations=15", "evaluate.resamples=20"]
    return read(
        built_in("generic"), [*overrides, *(f"{key.replace('_', '.')}={value}" for key, value in changes.items())]
    )


def events_of(users: int, items: int, size: int, seed: int = 0) -> pl.DataFrame:
    """Three columns, text ids, nothing else; every user has a taste of his own."""
    draw = rng(seed, "events")
    user = draw.integers(0, users, size)
    item = (user + draw.integers(0, max(items // 2, 1), size)) % items
    return pl.DataFrame(
        {
            "user_id": [f"user {u}" for u in user],
            "item_id": [f"item {i}" for i in item],
            "time": np.sort(draw.integers(1_600_000_000, 1_600_000_000 + 30 * DAY, size)),
        }
    )


def test_a_folder_with_only_three_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Through the command line, with the recipe that comes along: a sensible report without a word about attributes."""
    (tmp_path / "data").mkdir()
    events_of(80, 60, 3000).write_parquet(tmp_path / "data" / "events.parquet")
    out = tmp_path / "run"
    arguments = ["backtest", "generic", "--data", str(tmp_path / "data"), "--out", str(out)]
    assert main.run([*arguments, "--set", "ranker.catboost.iterations=20"]) == 0
    assert "pipeline" in capsys.readouterr().out
    metrics, funnel = loaded(out, "metrics.json"), loaded(out, "funnel.json")
    assert metrics["requests"] > 50
    # Half of the items are a user's own: a quarter of them at random would already be 1/6 of all.
    assert metrics["systems"]["pipeline"]["hitrate@10"]["value"] > 0.5
    assert metrics["systems"]["source:history"]["hitrate@10"]["value"] > 0.5
    assert funnel["recall@pool"] > 0.9
    page = (out / "report.html").read_text(encoding="utf-8")
    assert ">nan<" not in page.lower()
    assert page.count("<svg") + page.count("<img") > 0


TINY = {
    "5 users, 6 items, 40 events": events_of(5, 6, 40),
    "one user": events_of(1, 6, 60),
    "one item": events_of(6, 1, 60),
    "every user once": events_of(200, 10, 60).unique("user_id", keep="first", maintain_order=True),
    "all in one second": events_of(5, 6, 60).with_columns(time=pl.lit(1_600_000_000)),
    "two moments": events_of(5, 6, 60).with_columns(time=pl.Series([1_600_000_000] * 40 + [1_600_090_000] * 20)),
    "three events": events_of(2, 2, 3),
    "one event": events_of(1, 1, 1),
    "impressions only": events_of(5, 6, 60).with_columns(event=pl.lit("impression")),
}


REFUSED = {
    "one user": r"^(timeline|ranker\.catboost)",
    "one item": r"^ranker\.",
    "all in one second": r"^timeline\.test",
    "two moments": r"^timeline\.cutoffs",
    "three events": r"^timeline",
    "one event": r"^timeline\.test",
    "impressions only": r"^timeline\.test: no positive event|^data",
}


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("which", ["generic", "small"])
def test_tiny_data_are_no_crash(name: str, which: str, tmp_path: Path) -> None:
    """A run with finite figures, or one clear line; never a half-written folder."""
    data = from_frames(TINY[name])
    target = tmp_path / "run"
    recipe_of = {"generic": generic, "small": small}[which]
    if name in REFUSED:
        with pytest.raises(ShortlistError, match=REFUSED[name]) as caught:
            backtest(recipe_of(), data, target)
        assert "\n" not in str(caught.value)
        assert list(tmp_path.iterdir()) == []
    else:
        backtest(recipe_of(), data, target)
        assert {path.name for path in target.iterdir()} == FILES
        for file in ("metrics.json", "funnel.json", "details.json"):
            loaded(target, file)
        assert loaded(target, "metrics.json")["requests"] > 0


def test_one_user_tells_figures_but_no_interval(tmp_path: Path) -> None:
    """Of the guard's comparison, too: what is not known is null."""
    backtest(generic(), from_frames(events_of(1, 100, 500)), tmp_path / "run")
    guard = loaded(tmp_path / "run", "funnel.json")["guard"]
    assert guard["difference"]["value"] is not None
    assert guard["difference"]["low"] is guard["difference"]["high"] is None
    assert loaded(tmp_path / "run", "metrics.json")["systems"]["pipeline"]["ndcg@10"]["low"] is None


def test_one_kind_of_event_is_enough(tmp_path: Path) -> None:
    """Named or not, a single kind is the positive one."""
    events = events_of(30, 20, 600)
    plain, named = from_frames(events), from_frames(events.with_columns(event=pl.lit("buy")))
    backtest(small(), plain, tmp_path / "plain")
    backtest(small(), named, tmp_path / "named")
    for name in ("recommendations.parquet", "requests.parquet"):
        assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "named" / name).read_bytes()


def test_integer_ids_stay_integers(tmp_path: Path) -> None:
    events = events_of(30, 20, 600).with_columns(
        pl.col("user_id").str.slice(5).cast(pl.Int64), pl.col("item_id").str.slice(5).cast(pl.Int32) + 1000
    )
    backtest(small(), from_frames(events), tmp_path / "run")
    answers = pl.read_parquet(tmp_path / "run" / "recommendations.parquet")
    assert answers.schema["user_id"] == answers.schema["item_id"] == pl.Int64
    assert answers["item_id"].is_between(1000, 1019).all()


def test_users_without_a_history_get_answers(tmp_path: Path) -> None:
    """Whoever comes for the first time in the test window is cold, and is answered all the same."""
    events = events_of(40, 20, 800)
    start = int(events["time"].to_numpy()[-1]) - 2 * DAY
    events = events.with_columns(
        user_id=pl.when(pl.col("time") > start).then(pl.col("user_id") + " new").otherwise(pl.col("user_id"))
    )
    backtest(
        small(timeline={"test": str(np.datetime64(start + 1, "s")), "window": "4d", "cutoffs": 1}),
        from_frames(events),
        tmp_path / "run",
    )
    metrics = loaded(tmp_path / "run", "metrics.json")
    assert set(metrics["systems"]["pipeline"]["slices"]) == {"cold"}
    answers = pl.read_parquet(tmp_path / "run" / "recommendations.parquet")
    assert answers["user_id"].n_unique() == metrics["requests"] > 5
    assert answers["user_id"].str.ends_with(" new").all()


def test_holdout_and_last_run_through(data: Dataset, tmp_path: Path) -> None:
    """The other ways to cut: they make a run, and its label says so."""
    ways: list[dict[str, Any]] = [
        {"split": "last", "cutoffs": 2},
        {"test": 0.8, "cutoffs": 2, "window": 0.1, "holdout": 0.3},
        {"test": 0.8, "cutoffs": 2, "window": 0.1, "refit": "first", "targets": "first"},
        {"test": 0.8, "cutoffs": 2, "window": "1d", "gap": "6h"},
        {"test": 0.8, "cutoffs": 3, "window": "1d", "step": "8h"},
    ]
    for i, timeline in enumerate(ways):
        metrics = backtest(recipe(timeline=timeline, ranker=RANKERS[:1]), data, tmp_path / str(i))
        assert metrics["timeline"]["split"] == timeline.get("split", "time")
        assert metrics["timeline"]["leaks_across_users"] == (timeline.get("split") == "last")
        assert all(start < end for start, end in metrics["timeline"]["test"])
        notes = loaded(tmp_path / str(i), "details.json")["notes"]
        assert any("leaks across users" in note for note in notes) == (timeline.get("split") == "last")
        assert metrics["systems"]["pipeline"]["hitrate@10"]["value"] > 0
