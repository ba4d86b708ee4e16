"""The table of columns: against plain loops, on a small shop with everything that auto proposes."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.core.batch import Array
from shortlist.core.errors import ConfigError
from shortlist.data.dataset import Dataset, encode
from shortlist.experiment.drift import FLOOR, FREQUENT, stability
from shortlist.experiment.features import Features, described, features, settled
from shortlist.experiment.fit import Fitted, fit
from shortlist.experiment.freeze import freeze, frozen
from shortlist.experiment.settle import Settled
from shortlist.pipeline.config import Recipe, read
from tests.parity.worlds import same_frames, shop

RECIPE = """# A recipe with a choice left open.
title = "open"     # [[feature]] is written below
[data]
positive = ["click"]
context = [
  "device",   # ] not the end
]
[timeline]
test = 0.8
window = 0.1
cutoffs = 2
[train]
negatives = 10
requests = 60
[pipeline]
pool = 30
[[source]]
type = "popular"
half_life = '1d'
[[source]]
type = "itemknn"

# The clock, by hand.
[[feature]]
type = "clock"
name = "by hand"
offset = "1h"

# What the data offer.
[[feature]]
type = "auto"  # open
exclude = ["item.price",
  "item.title"]   # not these
families = ["attributes", "counts", "recency", "rate", "pair", "session"]
# Of the ranker.
[[ranker]]
type = "catboost"
iterations = 15
threads = 1
"""


@pytest.fixture(scope="module")
def data() -> Dataset:
    return encode(shop())


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("recipe") / "open.toml"
    made.write_text(RECIPE)
    return made


@pytest.fixture(scope="module")
def found(path: Path, data: Dataset) -> Features:
    return features(read(path), data)


@pytest.fixture(scope="module")
def fitted(path: Path, data: Dataset) -> Fitted:
    return fitted_of(read(path), data)


def fitted_of(recipe: Recipe, data: Dataset) -> Fitted:
    """As a backtest fits for its last test window."""
    return fit(recipe, data, splits=recipe.timeline.splits(data)[-1])


def test_the_choice_comes_with_reasons(found: Features) -> None:
    assert {one.asked for one in found.chosen} == {"auto"}
    assert [one.entry["type"] for one in found.chosen[:2]] == ["attributes", "counts"]
    assert all(one.why for one in found.chosen)
    assert list(found.recipe.features) == ["by hand", *(one.entry["name"] for one in found.chosen)]


def test_the_table_is_of_the_training_frame(found: Features, fitted: Fitted) -> None:
    """Every column of the frame once, and each figure as plain Python has it."""
    assert fitted.frame is not None
    frame = fitted.frame
    assert sorted(row["column"] for row in found.columns) == sorted(frame.features)
    kinds = set()
    for row in found.columns:
        column = frame.batch.cand[row["column"]]
        kinds.add(row["type"])
        if row["type"] == "category":
            there = [int(value) for value in column if value >= 0]
            assert row["distinct"] == len(set(there))
        else:
            there_ = sorted(float(value) for value in column if not math.isnan(value))
            assert (row["min"], row["max"]) == ((there_[0], there_[-1]) if there_ else (None, None))
            there = [0] * len(there_)
        assert row["missing"] == pytest.approx(1 - len(there) / len(column), abs=1e-12)
    assert kinds == {"number", "category"}
    families = {row["family"] for row in found.columns}
    assert families == {"source", *found.recipe.features}


def test_gains_are_those_of_the_ranker_and_sorted(found: Features, fitted: Fitted) -> None:
    gains = [row["gain"] for row in found.columns]
    assert gains == sorted(gains, reverse=True)
    assert sum(gains) == pytest.approx(100)
    told = {entry["feature"]: entry["gain"] for entry in fitted.importance}
    total = sum(told.values())
    for row in found.columns:
        assert row["gain"] == pytest.approx(100 * told.get(row["column"], 0.0) / total)


def test_the_cost_is_shared_among_a_family(found: Features) -> None:
    for family in found.families:
        own = [row["us"] for row in found.columns if row["family"] == family["family"]]
        assert len(own) == family["columns"]
        assert sum(own) == pytest.approx(family["us"])
        assert family["us"] > 0
    assert all(row["us"] is None for row in found.columns if row["family"] == "source")
    assert found.totals["requests_timed"] > 10
    assert found.totals["candidates"] > 10


def test_drift_is_between_the_windows(found: Features, fitted: Fitted) -> None:
    assert fitted.frame is not None
    windows = fitted.frame.batch.spread(fitted.frame.cutoff)
    assert set(windows.tolist()) == {0, 1}
    for row in found.columns:
        column = fitted.frame.batch.cand[row["column"]]
        assert row["drift"] == pytest.approx(slow_stability(column[windows == 0], column[windows == 1]), abs=1e-9)


def test_memory_adds_up(found: Features, fitted: Fitted) -> None:
    """Slots by hand: distinct keys of the folded events; bytes from the arrays themselves."""
    rows = {row["aggregate"]: row for row in found.memory}
    assert set(fitted.state.folds) <= set(rows)
    for name, fold in fitted.state.folds.items():
        assert rows[name]["bytes"] == fold.bytes() > 0
    log = fitted.data.log.slice(0, fitted.replay.position)
    pairs = [name for name, fold in fitted.state.folds.items() if len(fold.by) == 2 and "item.tags" not in fold.by]
    assert pairs, "auto proposes no key of two columns: nothing is compared"
    catalogue, fold = fitted.data.catalogue, fitted.state.folds[pairs[0]]
    parts = []
    for name in fold.by:
        title, _, attribute = name.partition(".")
        codes = log.columns[title]
        table = catalogue.items if title == "item" else catalogue.users
        parts.append(table.values(attribute, codes).tolist() if attribute else codes.tolist())
    kinds = catalogue.kind_codes(fold.kinds)
    keys = {
        (one, other)
        for one, other, kind in zip(*parts, log.kind, strict=True)
        if kind in kinds and one >= 0 and other >= 0
    }
    assert len(keys) > 10
    assert rows[pairs[0]]["slots"] == len(keys)
    users, items = len(fitted.data.catalogue.users), len(fitted.data.catalogue.items)
    total = sum(row["kb"] for row in found.memory) + found.totals["history_kb"]
    parts = found.totals["kb_per_user"] * users + found.totals["kb_per_item"] * items + found.totals["kb_of_neither"]
    assert parts == pytest.approx(total)


def slow_stability(old: Array, new: Array) -> float:
    """The definition, bin by bin."""
    if old.dtype.kind in "iu":
        counts = {code: int((old == code).sum()) for code in set(old[old >= 0].tolist())}
        frequent = sorted(counts, key=lambda code: (-counts[code], code))[:FREQUENT]

        def bin_of(value: float) -> object:
            return "missing" if value < 0 else value if value in frequent else "rest"

        bins: list[object] = [*frequent, "rest", "missing"]
    else:
        there = old[~np.isnan(old)]
        edges = sorted(set(np.quantile(there, np.arange(1, 10) / 10).tolist())) if len(there) else []

        def bin_of(value: float) -> object:
            if math.isnan(value):
                return "missing"
            return sum(edge < value for edge in edges), value in edges

        bins = [(i, on) for i in range(len(edges) + 1) for on in (False, True)] + ["missing"]
    total = 0.0
    placed = [[bin_of(value) for value in values.tolist()] for values in (old, new)]
    for one in bins:
        p, q = (max(sum(place == one for place in places) / max(len(places), 1), FLOOR) for places in placed)
        total += (q - p) * math.log(q / p)
    return total


numbers = st.lists(st.sampled_from([0.0, 1.0, 1.5, 7.0, -3.0, math.nan, 1e6]), min_size=1, max_size=30)


@given(numbers, numbers)
def test_stability_of_numbers(old: list[float], new: list[float]) -> None:
    one, other = np.array(old, dtype=np.float32), np.array(new, dtype=np.float32)
    assert stability(one, other) == pytest.approx(slow_stability(one, other), abs=1e-9)
    assert stability(one, one) == 0.0
    assert stability(one, other) >= 0.0


@given(st.lists(st.integers(-1, 30), min_size=1, max_size=80), st.lists(st.integers(-1, 30), min_size=1, max_size=80))
def test_stability_of_categories(old: list[int], new: list[int]) -> None:
    one, other = np.array(old, dtype=np.int32), np.array(new, dtype=np.int32)
    assert stability(one, other) == pytest.approx(slow_stability(one, other), abs=1e-9)


def test_stability_has_its_usual_size() -> None:
    """Normal samples: the same, half a standard deviation apart, and two."""
    draw = np.random.default_rng(0)
    old = draw.normal(size=20_000)
    assert stability(old, draw.normal(size=20_000)) < 0.01
    assert 0.1 < stability(old, draw.normal(0.5, size=20_000)) < 0.3
    assert stability(old, draw.normal(2, size=20_000)) > 1
    assert stability(np.full(50, 6.0), np.zeros(50)) > 1, "a value that all shared and nobody has now"


def test_described_without_any_value() -> None:
    empty = described(np.full(3, np.nan, dtype=np.float32))
    assert (empty["missing"], empty["min"]) == (1.0, None)
    assert described(np.array([-1, -1], dtype=np.int32))["distinct"] == 0


def test_frozen_is_the_same_run(path: Path, data: Dataset, fitted: Fitted, found: Features, tmp_path: Path) -> None:
    """The copy reads as the settled recipe and gives the same training frame; nothing is open any more."""
    freeze(path, tmp_path / "frozen.toml", found.recipe, found.chosen)
    recipe = read(tmp_path / "frozen.toml")
    assert recipe.resolved() == found.recipe.resolved()
    again, chosen = settled(recipe, data)
    assert (again, chosen) == (recipe, [])
    other = fitted_of(recipe, data)
    assert fitted.frame is not None
    assert other.frame is not None
    same_frames(other.frame, fitted.frame)
    assert [path.name for path in tmp_path.iterdir()] == ["frozen.toml"]


def test_frozen_keeps_the_rest_of_the_file(found: Features) -> None:
    text = frozen(RECIPE, found.chosen)
    before, _, rest = RECIPE.partition('[[feature]]\ntype = "auto"')
    after = rest[rest.index("# Of the ranker.") :]
    assert text.startswith(before)
    assert text.endswith(after)
    middle = text[len(before) : -len(after)]
    assert '# type = "auto"  # open\n' in middle
    assert '#   "item.title"]   # not these\n' in middle
    assert all(one.why in middle for one in found.chosen)


CHOSEN = [Settled("auto", {"name": "counts", "type": "counts", "by": ["item"]}, "why not")]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ('[[feature]]\ntype = "auto"', ""),
        (
            '[[ feature ]] # x\ntype = "auto"\n\n\n[feature.weights]\na = 1\n[[source]]\ntype = "popular"\n',
            '\n[[source]]\ntype = "popular"\n',
        ),
        ('x = """\n[[feature]]\\"""\n""""\n[["feature"]]\ntype = \'auto\'\ny = [[1], [\n2]]\n# tail\n', "\n# tail\n"),
        ("x = '''\n[[feature]]\n'''''\n[[feature]]\ntype = \"auto\"\r\n[a]\r\n", "[a]\r\n"),
        ('[[feature]]\ntype = "clock"\n[[feature]]\ntype = "auto"\nz = { a = "#]", b = 1 } # }\n', ""),
    ],
)
def test_entries_are_found_whatever_stands_around_them(text: str, kept: str) -> None:
    made = frozen(text, CHOSEN)
    was, now = tomllib.loads(text), tomllib.loads(made)
    expected = [entry for entry in was["feature"] if entry["type"] != "auto"] + [CHOSEN[0].entry]
    assert now == {**was, "feature": expected}
    assert made.endswith(kept)


def test_what_cannot_be_frozen_is_one_line(path: Path, found: Features, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="write its features as"):
        frozen('feature = [{ type = "auto" }]\n', CHOSEN)
    with pytest.raises(ConfigError, match=r"a recipe is a .toml file"):
        freeze(path, tmp_path / "frozen.txt", found.recipe, found.chosen)
    with pytest.raises(ConfigError, match="would not read as the same recipe"):
        freeze(path, tmp_path / "frozen.toml", found.recipe, found.chosen[:-1])
    assert list(tmp_path.iterdir()) == []
