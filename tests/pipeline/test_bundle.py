"""The bundle: what is loaded answers as what was saved, to the bit; a damaged one is refused with one line; a disk that is full
leaves nothing half-written and the older bundle in place."""

from __future__ import annotations

import errno
import json
import os
import pickletools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from catboost import CatBoost, CatBoostError

from shortlist.cli import main
from shortlist.core.batch import Batch
from shortlist.core.errors import BundleError
from shortlist.data.dataset import encode
from shortlist.data.synthetic import START
from shortlist.experiment.fit import Fitted, fit
from shortlist.pipeline import bundle as module
from shortlist.pipeline.bundle import MANIFEST, Bundle
from shortlist.pipeline.trace import Trace
from tests.disk import disk
from tests.parity.worlds import DAY, recipe, same_batches, shop

NOW = START + 8 * DAY


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    """A pipeline with every part."""
    data = encode(shop())
    chosen = recipe()
    return fit(chosen, data, splits=chosen.timeline.at(data, NOW))


@pytest.fixture(scope="module")
def saved(fitted: Fitted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its bundle. Tests that damage it take a copy."""
    folder = tmp_path_factory.mktemp("saved") / "bundle"
    fitted.save(folder)
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    """A bundle to be damaged."""
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def asked(fitted: Fitted) -> Batch:
    """Every user, and nobody, at two moments."""
    users = np.arange(-1, len(fitted.data.catalogue.users))
    return Batch.of(users, NOW + 3600 * (users % 2))


def ranked(made: Fitted | Bundle, batch: Batch) -> Batch:
    """What the rankers saw and said."""
    trace = Trace()
    made.pipeline.recommend(batch, made.state, 10, trace)
    assert trace.ranked is not None
    return trace.ranked


def hashes(folder: Path) -> dict[str, str]:
    """Every file of a folder."""
    return {str(path.relative_to(folder)): module.digest(path) for path in folder.rglob("*") if path.is_file()}


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What stderr holds: exactly one line."""
    err = capsys.readouterr().err
    assert err.startswith("shortlist: ")
    assert err.count("\n") == 1
    return err


def recommend(folder: Path) -> int:
    """Through the command line."""
    return main.run(["recommend", str(folder), "--users", "all", "--out", str(folder.parent / "out.csv")])


def test_what_is_loaded_answers_as_what_was_saved(fitted: Fitted, saved: Path) -> None:
    batch = asked(fitted)
    expected = ranked(fitted, batch)
    assert expected.m > 10 * batch.n
    for verify in (True, False):
        same_batches(ranked(Bundle.load(saved, verify), batch), expected)


def test_two_fits_are_the_same_bundle(saved: Path, tmp_path: Path) -> None:
    """Byte for byte, so its name, the hash of its manifest, is the same too."""
    data, chosen = encode(shop()), recipe()
    fit(chosen, data, splits=chosen.timeline.at(data, NOW)).save(tmp_path / "again")
    assert hashes(tmp_path / "again") == hashes(saved)
    assert Bundle.load(tmp_path / "again").name == Bundle.load(saved).name


def test_saved_again_it_is_the_same_but_for_the_trees(saved: Path, tmp_path: Path) -> None:
    """The tree library writes a model that it has read in another order."""
    Bundle.load(saved).save(tmp_path / "again")
    again, expected = hashes(tmp_path / "again"), hashes(saved)
    assert {name for name in expected if again[name] != expected[name]} <= {"parts/ranker.catboost/model.cbm", MANIFEST}
    assert again.keys() == expected.keys()


def test_loaded_and_moved_on_it_leaves_its_files_alone(fitted: Fitted, saved: Path) -> None:
    """Arrays are mapped: what an engine learns stays in memory, and the saved state moves on as the fitted one."""
    before = hashes(saved)
    loaded = Bundle.load(saved)
    later = fitted.data.log.slice(fitted.replay.position, len(fitted.data.log))
    assert len(later) > 100
    loaded.state.apply(later.columns)
    other = Bundle.load(saved)
    for start in range(0, len(later), 100):
        other.state.apply(later.slice(start, start + 100).columns)
    same_batches(ranked(other, asked(fitted)), ranked(loaded, asked(fitted)))
    assert hashes(saved) == before


def test_nothing_is_pickled(saved: Path) -> None:
    """Arrays of numbers, JSON, and the tree library's own format; no file reads as a pickle."""
    suffixes = set()
    for path in saved.rglob("*"):
        if path.is_dir():
            continue
        suffixes.add(path.suffix)
        if path.suffix == ".npy":
            assert not np.load(path, allow_pickle=False).dtype.hasobject
        elif path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        with pytest.raises(Exception):  # noqa: B017, PT011 pickletools raises whatever it trips over
            assert list(pickletools.genops(path.read_bytes()))[-1][0].name == "STOP"
    assert suffixes == {".npy", ".json", ".cbm"}


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def _other_format(path: Path) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))


def _not_an_object(path: Path) -> None:
    path.write_text("[1, 2]")


def _without_hashes(path: Path) -> None:
    about = json.loads(path.read_text())
    del about["files"]
    path.write_text(json.dumps(about))


def _files_is_no_table(path: Path) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), "files": ["a"]}))


DAMAGE: list[tuple[str, Callable[[Path], None], str]] = [
    ("state/met.npy", _flip, "state/met.npy is damaged"),
    ("parts/source.ease/weights.npy", _truncate, "source.ease/weights.npy is damaged"),
    ("parts/ranker.catboost/model.cbm", _flip, "model.cbm is damaged"),
    ("recipe.json", _flip, "recipe.json is damaged"),
    ("catalogue/catalogue.json", Path.unlink, "catalogue.json is missing"),
    ("parts/ranker.catboost/model.cbm", Path.unlink, "model.cbm is missing"),
    (MANIFEST, Path.unlink, "is not a bundle: no manifest.json"),
    (MANIFEST, _truncate, "manifest.json: damaged"),
    (MANIFEST, _other_format, "bundle format 99, but shortlist"),
    (MANIFEST, _not_an_object, "bundle format None"),
    (MANIFEST, _without_hashes, "damaged: without files"),
    (MANIFEST, _files_is_no_table, "manifest.json: damaged"),
]


@pytest.mark.parametrize(("name", "damage", "said"), DAMAGE, ids=[f"{name} {how.__name__}" for name, how, _ in DAMAGE])
def test_damage_is_one_line(
    copy: Path, name: str, damage: Callable[[Path], None], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(copy / name)
    with pytest.raises(BundleError) as caught:
        Bundle.load(copy)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert recommend(copy) == 2
    assert said in one_line(capsys)
    assert not (copy.parent / "out.csv").exists()


UNCHECKED = [
    "recipe.json",
    "catalogue/catalogue.json",
    "catalogue/items.0.npy",
    "state/state.json",
    "state/met.npy",
    "parts/source.ease/weights.npy",
    "parts/ranker.catboost/model.json",
    "parts/ranker.catboost/model.cbm",
]


@pytest.mark.parametrize("damage", [_truncate, Path.unlink])
@pytest.mark.parametrize("name", UNCHECKED)
def test_damage_is_one_line_without_hashing_too(copy: Path, name: str, damage: Callable[[Path], None]) -> None:
    """verify = False skips the hashes, not the sense."""
    damage(copy / name)
    with pytest.raises(BundleError) as caught:
        Bundle.load(copy, verify=False)
    assert "\n" not in str(caught.value)


def test_a_folder_with_other_things_is_refused(fitted: Fitted, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match=r"with other things in it \(no manifest.json\)"):
        fitted.save(tmp_path)
    with pytest.raises(BundleError, match="is a file"):
        fitted.save(tmp_path / "thesis.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_older_bundle_is_replaced_whole(fitted: Fitted, copy: Path) -> None:
    (copy / "left over.npy").write_bytes(b"")
    fitted.save(copy)
    assert not (copy / "left over.npy").exists()
    Bundle.load(copy)
    assert [path.name for path in copy.parent.iterdir()] == ["copy"]


def full_disk(*_: Any, **__: Any) -> Any:
    """What a full disk says."""
    raise OSError(errno.ENOSPC, "No space left on device")


def after(calls: int, real: Callable[..., Any], lasting: bool = True) -> Callable[..., Any]:
    """A function that works so many times, then meets a full disk: from then on, or once."""
    left = [calls]

    def wrapped(*args: Any, **options: Any) -> Any:
        left[0] -= 1
        works = left[0] >= 0 or (left[0] < -1 and not lasting)
        return real(*args, **options) if works else full_disk()

    return wrapped


def save_array(path: Any, array: Any, **options: Any) -> None:
    """Half of an array, then a full disk."""
    Path(path).write_bytes(b"\x93NUMPY half of it")
    full_disk()


def catboost_save(self: Any, path: str, *_: Any, **__: Any) -> None:
    """The tree library does not raise OSError."""
    Path(path).write_bytes(b"half of it")
    raise CatBoostError("catboost/libs: (No space left on device) can't write")


FAILURES: list[tuple[Any, str, Any]]  # what breaks: see `after`; or what stands in its place
FAILURES = [
    (np, "save", (0, np.save)),
    (np, "save", (7, np.save)),
    (np, "save", save_array),
    (os, "fsync", (0, os.fsync)),
    (os, "fsync", (9, os.fsync)),
    (Path, "write_text", (1, Path.write_text)),
    (Path, "rename", (0, Path.rename, False)),
    (Path, "rename", (1, Path.rename, False)),
]


@pytest.mark.parametrize(
    ("failure", "there"),
    [
        (failure, there)
        for failure in range(len(FAILURES))
        for there in (True, False)
        if there or failure < len(FAILURES) - 1  # only an older bundle takes a second renaming
    ],
)
def test_a_full_disk_leaves_nothing_half_written(
    fitted: Fitted, copy: Path, failure: int, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it happens: an older bundle stays as it was, else there is nothing."""
    thing, name, how = FAILURES[failure]
    broken = after(*how) if isinstance(how, tuple) else how
    target = copy if there else copy.parent / "new"
    before, listed = hashes(copy), sorted(path.name for path in copy.parent.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(thing, name, broken)
        with pytest.raises(BundleError, match=r"cannot be written: No space left on device") as caught:
            fitted.save(target)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in copy.parent.iterdir()) == listed
    assert hashes(copy) == before
    Bundle.load(copy)


@pytest.fixture
def tiny(tmp_path: Path) -> Any:
    """A disk of 256 kB, where one can be mounted."""
    with disk(tmp_path / "tiny", "256k") as folder:
        yield folder


def test_a_disk_that_is_really_full(fitted: Fitted, tiny: Path) -> None:
    with pytest.raises(BundleError, match="cannot be written"):
        fitted.save(tiny / "bundle")
    assert list(tiny.iterdir()) == []


def test_a_full_disk_through_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for title, table in shop().parts().items():
        table.write_parquet(tmp_path / f"{title}.parquet")
    (tmp_path / "recipe.toml").write_text('[timeline]\ncutoffs = 1\n[[source]]\ntype = "popular"\n')
    arguments = ["fit", str(tmp_path / "recipe.toml"), "--data", str(tmp_path), "--out", str(tmp_path / "bundle")]
    with monkeypatch.context() as patch:
        patch.setattr(np, "save", after(3, np.save))
        assert main.run(arguments) == 2
    assert "No space left on device" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "bundle").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_the_tree_library_meets_a_full_disk(fitted: Fitted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It raises an error of its own, which says what an OSError would."""
    monkeypatch.setattr(CatBoost, "save_model", catboost_save)
    with pytest.raises(BundleError, match=r"model.cbm: cannot be written"):
        fitted.save(tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []
