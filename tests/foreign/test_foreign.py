"""Parts from outside: a package of one's own with one part of every kind, written as the documentation says. Used by dotted path it
is trained, bundled, loaded and served as built-in parts are, and passes the conformance suites."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shortlist.cli import main
from shortlist.core.batch import Batch
from shortlist.core.errors import BundleError
from shortlist.data.dataset import encode
from shortlist.experiment.fit import Fitted, fit
from shortlist.pipeline.bundle import Bundle
from shortlist.pipeline.config import parse
from shortlist.serve.engine import Engine
from tests.parity.worlds import same_batches, shop

ROOT = Path(__file__).parents[2]
PACKAGE = "somebodys_parts"
# The file that a reader of each page would make of its first block of code.
PAGES = {
    "source": "steady", "feature": "heat", "fold": "largest", "filter": "affordable", "ranker": "single", "rule": "shuffle",
}  # fmt: skip

# A feature that reads the foreign fold: nothing built in would.
PEAK = f'''
"""Peak: the largest value that any event gave the item."""

from collections.abc import Sequence
from dataclasses import dataclass

from shortlist.core.batch import Batch, Columns
from shortlist.core.contracts import Feature, FitContext, Fold, State
from {PACKAGE}.largest import Largest


@dataclass
class Peak(Feature):
    """One column, `peak`."""

    def folds(self, ctx: FitContext) -> Sequence[Fold]:
        """The largest value by item."""
        return (Largest(("item",)),)

    def compute(self, batch: Batch, state: State) -> Columns:
        """float32."""
        return {{"peak": state.values(Largest(("item",)).name, batch)[0]}}
'''

SUITES = f"""
from typing import Any

from shortlist.testing.conformance import FeatureSuite, FilterSuite, FoldSuite, RankerSuite, RuleSuite, SourceSuite
from {PACKAGE} import affordable, heat, largest, peak, shuffle, single, steady


class TestSteady(SourceSuite):
    def part(self) -> Any:
        return steady.Steady(least=1)


class TestHeat(FeatureSuite):
    def part(self) -> Any:
        return heat.Heat("2h")


class TestPeak(FeatureSuite):
    def part(self) -> Any:
        return peak.Peak()


class TestLargest(FoldSuite):
    def part(self) -> Any:
        return largest.Largest(("user",))


class TestAffordable(FilterSuite):
    def part(self) -> Any:
        return affordable.Affordable(most=30.0)


class TestSingle(RankerSuite):
    skip = {{"test_it_learns": "it ranks by a column that says nothing in the suite's frame"}}

    def part(self) -> Any:
        return single.Single()


class TestShuffle(RuleSuite):
    def part(self) -> Any:
        return shuffle.Shuffle(first=4)
"""


def blocks(page: str) -> list[str]:
    """The Python blocks of a page of the documentation."""
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the package in it, importable while these tests run."""
    folder = tmp_path_factory.mktemp("outside")
    package = folder / PACKAGE
    package.mkdir()
    (package / "__init__.py").write_text("")
    for page, name in PAGES.items():
        (package / f"{name}.py").write_text(blocks(page)[0], encoding="utf-8")
    (package / "peak.py").write_text(PEAK)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield folder
    for name in [name for name in sys.modules if name.startswith(PACKAGE)]:
        del sys.modules[name]


def tree(**changes: Any) -> dict[str, Any]:
    """A recipe of foreign parts, with one built-in source beside."""
    return {
        "data": {"positive": ["click"]},
        "timeline": {"test": 0.8, "window": "1d", "cutoffs": 2},
        "evaluate": {"resamples": 20},
        "pipeline": {"pool": 30},
        "source": [{"type": f"{PACKAGE}.steady", "least": 1, "quota": 20}, {"type": "itemknn", "quota": 20}],
        "filter": [{"type": f"{PACKAGE}.affordable.Affordable", "most": 60.0}],
        "feature": [{"type": f"{PACKAGE}.heat"}, {"type": f"{PACKAGE}.peak"}],
        "ranker": [{"type": f"{PACKAGE}.single", "name": "mine", "column": "heat/6h"}],
        "rule": [{"type": f"{PACKAGE}.shuffle", "first": 2}],
        **changes,
    }


@pytest.fixture(scope="module")
def fitted(folder: Path) -> Fitted:
    return fit(parse(tree()), encode(shop()))


def test_trained_bundled_loaded_and_served(fitted: Fitted, tmp_path: Path) -> None:
    """The loaded bundle answers as the fitted pipeline, and goes on learning through the foreign fold."""
    names = [type(part).__module__ for _, part in fitted.pipeline.parts()]
    assert sum(name.startswith(f"{PACKAGE}.") for name in names) == 6
    fitted.save(tmp_path / "bundle")
    loaded = Bundle.load(tmp_path / "bundle")
    batch = Batch.of(np.arange(-1, 50), np.array(fitted.state.now))
    expected = fitted.pipeline.recommend(batch, fitted.state, 10)
    assert (np.diff(expected.offsets) > 5).all()
    same_batches(loaded.pipeline.recommend(batch, loaded.state, 10), expected)
    prices = fitted.data.catalogue.items.values("price", expected.item)
    assert not (prices > 60).any()
    engine = Engine.of(loaded)
    pool = engine.pipeline.retrieve(batch.request(0), engine.state)
    item = engine.catalogue.items.ids.name(int(pool.item[0]))
    engine.track([{"user_id": "u1", "item_id": item, "event": "purchase", "value": 12_345.0}])
    columns = engine.pipeline.add_features(pool, engine.state).cand
    assert columns["peak"][0] == 12_345.0
    assert len(engine.recommend({"user_id": "u1"})["items"]) == 10


def test_through_the_command_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A recipe file, a backtest, a bundle, answers."""
    for title, table in shop().parts().items():
        table.write_parquet(tmp_path / f"{title}.parquet")
    lines = [
        '[data]\npositive = ["click"]',
        '[timeline]\ntest = 0.8\nwindow = "1d"\ncutoffs = 1',
        "[evaluate]\nresamples = 20",
    ]
    lines += [
        f'[[{stage}]]\ntype = "{entry["type"]}"'
        for stage in ("source", "filter", "feature", "rule")
        for entry in tree()[stage]
    ]
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("\n".join([*lines, f'[[ranker]]\ntype = "{PACKAGE}.single"\n']))
    data = ["--data", str(tmp_path)]
    assert main.run(["backtest", str(recipe), *data, "--out", str(tmp_path / "run")]) == 0
    assert "source:steady" in capsys.readouterr().out
    assert main.run(["fit", str(recipe), *data, "--out", str(tmp_path / "bundle")]) == 0
    out = tmp_path / "recs.csv"
    assert main.run(["recommend", str(tmp_path / "bundle"), "--users", "all", "--out", str(out)]) == 0
    assert len(out.read_text().splitlines()) > 300


def test_a_bundle_whose_parts_are_not_installed_is_one_line(fitted: Fitted, tmp_path: Path) -> None:
    fitted.save(tmp_path / "bundle")
    kept = {name: module for name, module in sys.modules.items() if name.startswith(PACKAGE)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [path for path in sys.path if not (Path(path) / PACKAGE).exists()])
        for name in kept:
            patch.delitem(sys.modules, name)
        with pytest.raises(BundleError, match=rf"cannot be loaded: .*no part at '{PACKAGE}\.steady'") as caught:
            Bundle.load(tmp_path / "bundle")
    assert "\n" not in str(caught.value)


def test_they_pass_the_suites(folder: Path) -> None:
    """In about ten lines each; run as their author would."""
    (folder / "test_parts.py").write_text(SUITES, encoding="utf-8")
    each = re.split(r"\n\n\n", SUITES.strip())[1:]
    assert len(each) == len(PAGES) + 1
    assert all(len(block.splitlines()) <= 10 for block in each)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "test_parts.py"],
        cwd=folder,
        env={"PYTHONPATH": f"{ROOT}:{folder}", "PATH": "/usr/bin:/bin", "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed, 1 skipped", done.stdout)
    assert passed is not None
    assert int(passed[1]) > 70
