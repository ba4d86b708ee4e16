"""Bad data and bad recipes through the command line: exactly one line on stderr, exit code 2, nothing half-written."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from shortlist.cli import main
from shortlist.data.synthetic import world
from shortlist.pipeline.config import read

RECIPE = """
[data]
positive = ["click"]
[timeline]
test = 0.8
window = "1d"
cutoffs = 2
[evaluate]
resamples = 20
[[source]]
type = "popular"
[[feature]]
type = "counts"
[[ranker]]
type = "linear"
"""
TABLES = world(users=60, items=30, days=8).tables


def events(change: pl.Expr | Callable[[pl.DataFrame], pl.DataFrame]) -> Callable[[Path], None]:
    """The events table written otherwise."""

    def write(folder: Path) -> None:
        table = TABLES.events
        table = table.with_columns(change) if isinstance(change, pl.Expr) else change(table)
        table.write_parquet(folder / "events.parquet")

    return write


def items(change: Callable[[pl.DataFrame], pl.DataFrame]) -> Callable[[Path], None]:
    """The items table written otherwise."""

    def write(folder: Path) -> None:
        assert TABLES.items is not None
        change(TABLES.items).write_parquet(folder / "items.parquet")

    return write


def at(row: int, name: str, value: float | int | str | None) -> pl.Expr:
    """One cell of a column replaced."""
    return pl.when(pl.int_range(pl.len()) == row).then(pl.lit(value)).otherwise(pl.col(name)).alias(name)


def _empty(folder: Path) -> None:
    (folder / "events.parquet").write_bytes(b"")


def _damaged(folder: Path) -> None:
    (folder / "events.parquet").write_bytes((folder / "events.parquet").read_bytes()[:500])


def _two(folder: Path) -> None:
    (folder / "events.csv").write_text("user_id,item_id,time\n")


DATA: list[tuple[str, Callable[[Path], None], str]] = [
    ("missing column", events(lambda table: table.drop("item_id")), "item_id"),
    ("no rows", events(lambda table: table.head(0)), "events"),
    ("wrong type of time", events(pl.col("user_id").alias("time")), "time"),
    ("wrong type of value", events(pl.lit("much").alias("value")), "value"),
    ("nulls", events(at(3, "item_id", None)), "item_id"),
    ("NaN", events(at(5, "value", float("nan"))), "value"),
    ("infinity", events(at(5, "value", float("inf"))), "value"),
    (
        "mixed time units",
        events(pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.col("time") * 1000).otherwise(pl.col("time"))),
        "time",
    ),
    ("all in milliseconds", events(pl.col("time") * 1000), "milliseconds"),
    (
        "vectors of uneven length",
        items(
            lambda table: table.with_columns(
                look=pl.Series([[1.0, 2.0, 3.0]] * 4 + [[1.0]] + [[0.5] * 3] * (len(table) - 5))
            )
        ),
        "items.look: vector not 3 wide in 1 row (row 4: 1 wide); all vectors need one width; null if none",
    ),
    ("duplicate ids", items(lambda table: pl.concat([table, table.head(2)])), "item_id"),
    ("no item ids", items(lambda table: table.drop("item_id")), "item_id"),
    ("no events", lambda folder: (folder / "events.parquet").unlink(), "no events table"),
    ("empty file", _empty, "empty"),
    ("damaged file", _damaged, "not readable as parquet"),
    ("two tables", _two, "both events.parquet and events.csv"),
]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with good tables and a good recipe."""
    folder = tmp_path / "shop"
    folder.mkdir()
    for title, table in TABLES.parts().items():
        table.write_parquet(folder / f"{title}.parquet")
    (folder / "recipe.toml").write_text(RECIPE)
    return folder


def refused(command: str, folder: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    """Run a command that must refuse: its one line. Progress that was shown before does not count."""
    out = folder.parent / "out"
    listed = sorted(path.name for path in folder.parent.iterdir())
    arguments = [command, str(folder / "recipe.toml"), "--data", str(folder), "--out", str(out), *more]
    assert main.run(arguments) == 2
    shown, err = capsys.readouterr()
    assert shown == ""
    lines = [line for line in err.splitlines() if line.startswith("shortlist: ")]
    assert len(lines) == 1, err
    assert "Traceback" not in err
    assert err.splitlines()[-1] == lines[0]
    assert sorted(path.name for path in folder.parent.iterdir()) == listed
    return lines[0]


def test_the_good_one_is_good(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Else the refusals would say nothing."""
    out = shop.parent / "out"
    assert main.run(["fit", str(shop / "recipe.toml"), "--data", str(shop), "--out", str(out)]) == 0
    assert (out / "manifest.json").exists()


@pytest.mark.parametrize("command", ["fit", "backtest"])
@pytest.mark.parametrize(("damage", "said"), [(how, said) for _, how, said in DATA], ids=[name for name, *_ in DATA])
def test_bad_data(
    shop: Path, command: str, damage: Callable[[Path], None], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(shop)
    assert said in refused(command, shop, capsys)


@pytest.mark.parametrize("damage", [how for _, how, _ in DATA], ids=[name for name, *_ in DATA])
def test_check_refuses_what_fit_refuses(
    shop: Path, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """It may list more than one line, on stdout; no traceback."""
    damage(shop)
    assert main.run(["check", str(shop)]) == 2
    assert "Traceback" not in capsys.readouterr().err


# An entry instead of the counts, and what is said of it.
KINDS = "; the data have: impression, click, cart, purchase"
UNKNOWN_KEY = (
    "unknown key 'colour'; choices: item, user, last, item.<attribute>, user.<attribute>, last.<attribute>, hour, weekday, context "
    "columns: device"
)
NO_UNIT = "not a duration: '30'; write a number and a unit (s, m, h, d, w), for example '2h'"
COUNTS = 'type = "counts"'
LIVES = [f"{hours}h" for hours in range(1, 41)]
MANY = f'type = "counts"\nby = ["user x item x hour"]\nhalf_life = {LIVES}\n[state]\nmemory = 0.001'
FEATURES: list[tuple[str, str, str]] = [
    (COUNTS, f'type = "{kind}"\nevent = "clik"', f"feature.{kind}{option}: unknown event kind 'clik'{KINDS}")
    for kind, option in (
        ("rate", ".event"), ("pair", ".event"), ("counts", ""), ("recency", ""), ("mean", ""), ("conditional", ""), ("session", ""),
        ("cooccurrence", ""),
    )
] + [
    (COUNTS, 'type = "rate"\nover = ["impresion"]', f"feature.rate.over: unknown event kind 'impresion'{KINDS}"),
    (COUNTS, 'type = "rate"\nname = "mine"\nby = ["colour"]', f"feature.mine: {UNKNOWN_KEY}"),
    (COUNTS, 'type = "recency"\nby = ["user x colour"]', f"feature.recency: {UNKNOWN_KEY}"),
    (COUNTS, 'type = "rate"\nby = ["item", "item.colour"]', "feature.rate: unknown column 'colour'; columns: available_from, "),
    (COUNTS, 'type = "mean"\nby = ["user.age x item"]', "feature.mean: unknown column 'age'; columns: age_group, country"),
    (COUNTS, 'type = "conditional"\nsegment = ["user.age"]', "feature.conditional: unknown column 'age'; columns: age_group, country"),
    (COUNTS, 'type = "conditional"\nwhat = "user"', "feature.conditional.what: 'user' is not of the item; choices: item, item.<attr"),
    (COUNTS, 'type = "rate"\nby = ["item.price"]', "key 'item.price' is a number column; columns that may be keys: category, tags, title"),
    (COUNTS, 'type = "rate"\nhold = "30m"\nlag = "1d"', "feature.rate: hold and lag are two ways to look away; give one of them"),
    (COUNTS, 'type = "pair"\nattributes = ["colour"]', "feature.pair.attributes: unknown column 'colour'; columns: available_from, "),
    (COUNTS, 'type = "pair"\nattributes = ["price"]', "feature.pair.attributes: 'price' is a number column; columns that may stand here: category, tags, title"),
    (COUNTS, 'type = "attributes"\nitem = ["tags"]', "feature.attributes.item: 'tags' is a tags column; columns that may stand here: available_from, "),
    (COUNTS, 'type = "attributes"\nuser = ["age"]', "feature.attributes.user: unknown column 'age'; columns: age_group, country"),
    (COUNTS, 'type = "cooccurrence"\nnorm = ["pmi"]', "feature.cooccurrence.norm: 'pmi' is not a measure; choices: npmi, lift, "),
    (COUNTS, 'type = "auto"\nexclude = ["item.colour"]', "feature.auto.exclude: no column 'item.colour'; choices: item.available_from, "),
    (COUNTS, 'type = "auto"\nfamilies = ["trees"]', "feature.auto.families: 'trees' is not proposed for these data; choices: "),
    *((COUNTS, f'type = "{kind}"\n{option} = {value}', f"feature[0].{option}: {NO_UNIT}") for kind, option, value in (
        ("rate", "half_life", '["1d", "30"]'), ("rate", "hold", '"30"'), ("rate", "lag", '"30"'), ("session", "gap", '"30"'),
        ("conditional", "half_life", '"30"'), ("cooccurrence", "within", '"30"'), ("auto", "half_life", '["30"]'),
    )),
    (
        COUNTS, MANY,
        "more than the 1 MB allowed; the key 'user x item x hour' alone may have ",
    ),
]  # fmt: skip
RECIPES: list[tuple[str, str, str]] = [
    (
        'type = "popular"',
        'type = "populer"',
        "source[0]: unknown retrieve part 'populer'; did you mean 'popular'? choices: ",
    ),
    (
        'type = "popular"',
        'type = "popular"\nhalflife = "1d"',
        "source[0]: unknown option 'halflife'; did you mean 'half_life'? options: ",
    ),
    ('type = "popular"', 'type = "popular"\nhalf_life = "6"', "source[0].half_life: not a duration: '6'"),
    (
        'type = "popular"',
        'type = "popular"\nevent = ["clik"]',
        "unknown event kind 'clik'; the data have: impression, click",
    ),
    ('type = "popular"', 'type = "popular"\nby = "user.age"', "unknown column 'age'; columns: "),
    ('type = "popular"', 'type = "popular"\nquota = 0', "source[0].quota: 0 is out of range [1, ]"),
    ('type = "popular"', 'type = "nobody.nothing"', "no part at 'nobody.nothing'"),
    ("[[source]]", "[[sources]]", "unknown table 'sources'; did you mean 'source'? tables: "),
    ('[[source]]\ntype = "popular"', "", "no [[source]]"),
    ("[timeline]", "[timelines]", "unknown table 'timelines'; did you mean 'timeline'? tables: "),
    ("cutoffs = 2", "cutoff = 2", "timeline: unknown option 'cutoff'; did you mean 'cutoffs'? options: "),
    ("cutoffs = 2", "cutoffs = 0", "timeline.cutoffs: 0 is out of range"),
    ("cutoffs = 2", "cutoffs = 2.5", "timeline.cutoffs: expected int, got float 2.5"),
    ("cutoffs = 2", "cutoffs = 30", "timeline.cutoffs: 30 label windows"),
    (
        "test = 0.8",
        "test = 2030-01-01",
        "timeline.test: 2030-01-01T00:00:00 is outside the data, which span 2024-01-01",
    ),
    ("test = 0.8", "test = 8", "timeline.test"),
    ('positive = ["click"]', 'positive = ["sale"]', "data.positive: unknown event kind 'sale'; the data have: "),
    ('positive = ["click"]', 'context = ["divice"]', "data.context: no event column 'divice'; columns: "),
    ('type = "counts"', 'type = "counts"\nby = ["item.colour"]', "unknown column 'colour'; columns: "),
    *FEATURES,
    ('type = "linear"', 'type = "linear"\nl2 = -1.0', "ranker[0].l2: -1.0 is out of range [0.0, ]"),
    ("[data]", "[data", "recipe.toml: not valid TOML"),
]


def bad_recipe(shop: Path, old: str, new: str) -> None:
    """The good recipe with one thing written otherwise."""
    assert RECIPE.count(old) == 1
    (shop / "recipe.toml").write_text(RECIPE.replace(old, new))


@pytest.mark.parametrize(("old", "new", "said"), RECIPES, ids=[new or "no source" for _, new, _ in RECIPES])
def test_bad_recipes(shop: Path, old: str, new: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    bad_recipe(shop, old, new)
    assert said in refused("backtest", shop, capsys)


@pytest.mark.parametrize(("old", "new", "said"), [entry for entry in RECIPES if not entry[1].startswith("test = ")])
def test_bad_recipes_are_not_fitted_either(
    shop: Path, old: str, new: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """But for `test`: a fit learns from all there is, so where the test would begin does not matter to it."""
    bad_recipe(shop, old, new)
    assert said in refused("fit", shop, capsys)


@pytest.mark.parametrize(("old", "new", "said"), FEATURES, ids=[new for _, new, _ in FEATURES])
def test_bad_features_are_not_listed_either(
    shop: Path, old: str, new: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`features` takes no --out."""
    bad_recipe(shop, old, new)
    assert main.run(["features", str(shop / "recipe.toml"), "--data", str(shop)]) == 2
    shown, err = capsys.readouterr()
    assert shown == ""
    assert said in err
    assert err.count("\n") == 1


def test_the_memory_a_key_would_need_is_told(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By how much, of which key, and what can be done; with a coarser key it runs."""
    bad_recipe(shop, COUNTS, MANY)
    line = refused("fit", shop, capsys)
    assert re.search(
        r"the aggregates may need \d+ MB, .* may have [\d,]+ values and need \d+ MB for 1 aggregates: choose a coarser",
        line,
    )
    allowed = ["--set", "feature.counts.by=['user.country x item x hour']", "--out", str(shop.parent / "out")]
    assert main.run(["fit", str(shop / "recipe.toml"), "--data", str(shop), *allowed]) == 0


@pytest.mark.parametrize("event", ['"click"', '["click"]'])
def test_one_kind_may_stand_as_it_is(shop: Path, event: str) -> None:
    """event = "click" is event = ["click"]."""
    text = RECIPE.replace(COUNTS, f'type = "rate"\nevent = {event}\nover = "impression"')
    (shop / "recipe.toml").write_text(text)
    (part,) = read(shop / "recipe.toml").features.values()
    assert (part.event, part.over) == (("click",), ("impression",))
    assert main.run(["fit", str(shop / "recipe.toml"), "--data", str(shop), "--out", str(shop.parent / "out")]) == 0


def test_a_label_window_without_positives(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Which window, from when, and which kinds were looked for."""
    table = TABLES.events
    day = pl.from_epoch("time").dt.date()
    (last,) = table.select(day.max()).row(0)
    quiet = table.filter((day != last.replace(day=last.day - 1)) | (pl.col("event") != "click"))
    quiet.write_parquet(shop / "events.parquet")
    text = RECIPE.replace("test = 0.8", f"test = {last}")
    (shop / "recipe.toml").write_text(text)
    line = refused("backtest", shop, capsys)
    assert (
        "the label window 'validate' from 2024-01-07T00:00:00 holds no event of kind click: choose another window"
        in line
    )


def test_a_test_window_without_positives(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    late = TABLES.events.filter((pl.col("event") != "click") | (pl.int_range(pl.len()) < pl.len() * 6 // 10))
    late.write_parquet(shop / "events.parquet")
    assert "timeline.test: no positive event at or after" in refused(
        "backtest", shop, capsys, "--set", "timeline.test=0.9"
    )


def test_a_disk_file_where_a_folder_should_be(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = shop / "recipe.toml"
    for command in ("fit", "backtest"):
        assert main.run([command, str(target), "--data", str(shop), "--out", str(target)]) == 2
        assert "is a file; give the name of a folder" in capsys.readouterr().err
    assert target.read_text() == RECIPE
