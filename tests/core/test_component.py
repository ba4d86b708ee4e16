"""Components: the file name is the recipe name; a parameter is written once; artefacts are plain numbers."""

import contextlib
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shortlist.core.batch import Array
from shortlist.core.component import (
    KINDS,
    build,
    check,
    class_name,
    config,
    find,
    fitted,
    hidden,
    learned,
    load,
    load_array,
    names,
    param,
    parameters,
    save,
    save_array,
)
from shortlist.core.errors import BundleError, ConfigError, ShortlistError
from shortlist.state.fold.decay import Decay


@dataclass
class Sample:
    """A part with an option of every type."""

    must: int = param(1, "a number", low=0, high=10)
    share: float = param(0.5, "a share", low=0.0, high=1.0)
    mode: str = param("fast", "a choice", options=("fast", "slow"))
    life: str = param("1d", "a duration", duration=True)
    within: str = param("", "a duration, empty = for ever", duration=True)
    lives: tuple[str, ...] = param(("1h", "1d"), "durations", duration=True)
    names: list[str] = param([], "a list")
    by: dict[str, int] = param({}, "a dict")
    half: float | None = param(None, "a number or nothing")
    flag: bool = param(False, "a switch")
    other: Any = param(None, "anything")
    table: Array = fitted("an array")
    more: Array = fitted("another array")
    seen: dict[str, int] = hidden({})


@dataclass
class Strict:
    """A part with an option that has no default."""

    size: int


HERE = f"{__name__}.Sample"
ALL = "must, share, mode, life, within, lives, names, by, half, flag, other"


def made(**options: Any) -> Sample:
    """A sample built as a recipe would."""
    part = build("order", {"type": HERE, **options}, "recipe.toml: rule[2]")
    assert isinstance(part, Sample)
    return part


def test_fields_are_options_or_learned_or_neither() -> None:
    assert [field.name for field in parameters(Sample)] == ALL.split(", ")
    assert learned(Sample) == ("table", "more")
    first, second = Sample(), Sample()
    first.names.append("x")
    first.by["x"] = 1
    first.seen["x"] = 1
    assert (second.names, second.by, second.seen) == ([], {}, {})
    assert second.table is None


def test_names_are_the_files() -> None:
    assert {"seen", "available", "cap", "top", "mmr"} <= set(names("order"))
    assert {"count", "decay", "last", "window"} <= set(names("state.fold"))
    for kind in KINDS:
        for name in names(kind):
            assert not name.startswith("_")


@pytest.mark.parametrize(("name", "expected"), [("ease", "Ease"), ("ctr_top", "CtrTop"), ("rp3beta", "Rp3beta")])
def test_class_names(name: str, expected: str) -> None:
    assert class_name(name) == expected


def test_a_built_in_part_is_found_by_its_file_name() -> None:
    assert find("state.fold", "decay") is Decay
    part = build("state.fold", {"type": "decay", "by": ["user", "item"], "half_life": "2h"})
    assert part == Decay(("user", "item"), half_life=("2h",))


def test_a_recipe_sets_every_option() -> None:
    given: dict[str, Any] = {
        "must": 10, "share": 1, "mode": "slow", "life": "2h", "within": "3d", "lives": ["1m"], "names": ("a", "b"),
        "by": {"a": 1}, "half": 2, "flag": True, "other": [1, "x"],
    }  # fmt: skip
    part = made(**given)
    assert part == Sample(10, 1.0, "slow", "2h", "3d", ("1m",), ["a", "b"], {"a": 1}, 2.0, True, [1, "x"])
    assert isinstance(part.share, float)
    assert isinstance(part.half, float)
    again = build("order", config(part))
    assert again == part
    assert config(again) == config(part)
    assert config(part)["lives"] == ["1m"]
    assert build("order", config(made())) == made()


def test_one_text_may_stand_for_a_list_of_one() -> None:
    assert made(lives="1h", names="ab") == made(lives=["1h"], names=["ab"])
    assert made(names="").names == [""]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"musst": 3}, f"unknown option 'musst'; did you mean 'must'? options: {ALL}"),
        ({"zebra": 3}, f"unknown option 'zebra'; options: {ALL}"),
        ({"table": 3}, f"unknown option 'table'; options: {ALL}"),
        ({"must": 11}, "must: 11 is out of range [0, 10]"),
        ({"must": -1}, "must: -1 is out of range [0, 10]"),
        ({"must": 1.0}, "must: expected int, got float 1.0"),
        ({"must": True}, "must: expected int, got bool True"),
        ({"must": "1"}, "must: expected int, got str '1'"),
        ({"share": float("nan")}, "share: nan is out of range [0.0, 1.0]"),
        ({"share": 1.5}, "share: 1.5 is out of range [0.0, 1.0]"),
        ({"share": False}, "share: expected float, got bool False"),
        ({"mode": "Fast"}, "mode: 'Fast' is not a choice; choices: fast, slow"),
        ({"life": "30"}, "life: not a duration: '30'; write a number and a unit (s, m, h, d, w), for example '2h'"),
        ({"life": ""}, "life: not a duration: ''; write a number and a unit (s, m, h, d, w), for example '2h'"),
        ({"life": 30}, "life: expected str, got int 30"),
        ({"within": "3"}, "within: not a duration: '3'; write a number and a unit (s, m, h, d, w), for example '2h'"),
        (
            {"lives": ["1h", "2"]},
            "lives: not a duration: '2'; write a number and a unit (s, m, h, d, w), for example '2h'",
        ),
        ({"lives": "2"}, "lives: not a duration: '2'; write a number and a unit (s, m, h, d, w), for example '2h'"),
        ({"lives": 3}, "lives: expected tuple[str, ...], got int 3"),
        ({"names": ["a", 2]}, "names[1]: expected str, got int 2"),
        ({"names": True}, "names: expected list[str], got bool True"),
        ({"by": [1]}, "by: expected dict[str, int], got list [1]"),
        ({"half": "2"}, "half: expected float | None, got str '2'"),
        ({"flag": 1}, "flag: expected bool, got int 1"),
    ],
)
def test_wrong_options_say_where_and_what_else(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        made(**options)
    text = str(caught.value)
    assert text.startswith("recipe.toml: rule[2]")
    assert text.removeprefix("recipe.toml: rule[2]").lstrip(":. ") == message
    assert "\n" not in text


def test_bounds_on_one_side() -> None:
    with pytest.raises(ConfigError, match=r"x: 0 is out of range \[1, \]"):
        check(0, int, {"low": 1}, "x")
    with pytest.raises(ConfigError, match=r"x: 2 is out of range \[, 1\]"):
        check(2, int, {"high": 1}, "x")
    assert check(10**9, int, {"low": 1}, "x") == 10**9


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, r"^rule\[0\]: no type; choices: .*seen.*, or a dotted path$"),
        ({"type": ""}, r"^rule\[0\]: type must be the name of a part, not ''; choices: .*seen"),
        ({"type": 3}, r"^rule\[0\]: type must be the name of a part, not 3; choices: .*seen"),
        (
            {"type": "sean"},
            r"^rule\[0\]: unknown order part 'sean'; did you mean 'seen'\? choices: .*, or a dotted path$",
        ),
        ({"type": "zzz"}, r"^rule\[0\]: unknown order part 'zzz'; choices: "),
        ({"type": "Seen"}, r"^rule\[0\]: unknown order part 'Seen'"),
        ({"type": "../seen"}, r"^rule\[0\]: not a dotted path: '\.\./seen'"),
        ({"type": ".seen"}, r"^rule\[0\]: not a dotted path: '\.seen'"),
        ({"type": "seen."}, r"^rule\[0\]: not a dotted path: 'seen\.'"),
        (
            {"type": "no_such_pkg.newest"},
            r"^rule\[0\]: no part at 'no_such_pkg\.newest': expected a module with a .*'Newest'",
        ),
        ({"type": "json.dumps"}, r"^rule\[0\]: no part at 'json\.dumps'"),
        ({"type": "json.JSONDecoder"}, r"^rule\[0\]: no part at 'json\.JSONDecoder'"),
        ({"type": f"{__name__}.Strict"}, r"^rule\[0\]: option 'size' must be given; options: size$"),
    ],
)
def test_wrong_types_say_where_and_what_else(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build("order", spec, "rule[0]")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of somebody else's, and a lone module, on the import path."""
    text = (
        "from dataclasses import dataclass\nfrom shortlist.core.component import param\n\n"
        "@dataclass\nclass {name}:\n    k: int = param(3, 'how many')\n"
    )
    folder = tmp_path / "somebodys"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "newest_first.py").write_text(text.format(name="NewestFirst"))
    (folder / "parts.py").write_text(text.format(name="Odd"))
    (folder / "broken.py").write_text("import package_that_is_not_there\n")
    (tmp_path / "lonely.py").write_text(text.format(name="Lonely"))
    monkeypatch.syspath_prepend(tmp_path)
    return folder


@pytest.mark.parametrize(
    ("path", "name", "written"),
    [
        ("somebodys.newest_first", "NewestFirst", "somebodys.newest_first"),
        ("somebodys.newest_first.NewestFirst", "NewestFirst", "somebodys.newest_first"),
        ("somebodys.parts.Odd", "Odd", "somebodys.parts.Odd"),
        ("lonely.Lonely", "Lonely", "lonely.Lonely"),
    ],
)
def test_foreign_parts_by_dotted_path(package: Path, path: str, name: str, written: str) -> None:
    part = build("order", {"type": path, "k": 5})
    assert (type(part).__name__, part.k) == (name, 5)
    assert config(part) == {"type": written, "k": 5}
    assert build("order", config(part)) == part


def test_a_foreign_part_that_lacks_a_package_says_which(package: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match="package_that_is_not_there"):
        find("order", "somebodys.broken")
    with pytest.raises(ConfigError, match=r"no part at 'somebodys\.parts': expected a module with a dataclass 'Parts'"):
        find("order", "somebodys.parts")


def test_learned_arrays_come_back_memory_mapped(tmp_path: Path) -> None:
    part = made(must=2)
    part.table = np.arange(12, dtype=np.int16).reshape(3, 4)[:, ::2]
    save(part, tmp_path / "deep" / "part")
    assert sorted(path.name for path in (tmp_path / "deep" / "part").iterdir()) == ["table.npy"]
    again = made(must=2)
    again.more = np.zeros(3)
    load(again, tmp_path / "deep" / "part")
    assert again.table.tolist() == part.table.tolist()
    assert again.table.dtype == np.int16
    assert type(again.table) is np.ndarray
    file = tmp_path / "deep" / "part" / "table.npy"
    written = file.read_bytes()
    with contextlib.suppress(ValueError):  # read-only, or a copy on write: the file stays what it was
        again.table[0, 0] = 99
    assert file.read_bytes() == written
    assert isinstance(again.table.base, np.memmap)
    assert again.more is None  # what was not learned is forgotten


@pytest.mark.parametrize("array", [np.zeros((0, 4), dtype=np.float32), np.array(3.5), np.zeros(0, dtype=bool)])
def test_empty_and_single_values_come_back(tmp_path: Path, array: Array) -> None:
    save_array(tmp_path / "a.npy", array)
    again = load_array(tmp_path / "a.npy")
    assert (again.dtype, again.tolist()) == (array.dtype, array.tolist())


def test_objects_are_refused_both_ways(tmp_path: Path) -> None:
    part = made()
    part.table = np.array([{"a": 1}, None])
    with pytest.raises(BundleError, match=r"table\.npy: arrays of Python objects cannot be saved; store numbers"):
        save(part, tmp_path)
    ran = tmp_path / "ran"

    class Trap:
        def __reduce__(self) -> tuple[Any, tuple[Path]]:
            return Path.touch, (ran,)

    np.save(tmp_path / "table.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    (tmp_path / "more.npy").write_bytes(pickle.dumps(Trap()))
    for name in ("table", "more"):
        with pytest.raises(BundleError, match=rf"{name}\.npy: not a readable array file"):
            load_array(tmp_path / f"{name}.npy")
    assert not ran.exists()


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "text", "zip"])
def test_damaged_files_name_themselves(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.npy"
    if damage != "missing":
        np.save(path, np.arange(1000))
        whole = path.read_bytes()
        path.write_bytes({"empty": b"", "cut": whole[:500], "text": b"hello", "zip": b""}[damage])
    if damage == "zip":
        with path.open("wb") as file:
            np.savez(file, a=np.arange(3))
    with pytest.raises(BundleError, match=r"a\.npy: not a readable array file"):
        load_array(path)


def test_native_files_are_the_parts_own(tmp_path: Path) -> None:
    @dataclass
    class Native:
        text: str = ""

        def save_files(self, folder: Path) -> None:
            (folder / "model.txt").write_text(self.text)

        def load_files(self, folder: Path) -> None:
            self.text = (folder / "model.txt").read_text()

    save(Native("hello"), tmp_path)
    again = Native()
    load(again, tmp_path)
    assert again.text == "hello"


def test_every_error_of_ours_is_a_shortlist_error() -> None:
    assert issubclass(ConfigError, ShortlistError)
    assert issubclass(BundleError, ShortlistError)
