"""Components: a part is a dataclass in a file of its own, and the file name is its name in a recipe.

A field made by `param` is written once and is the constructor argument, the recipe option with its check, the tuning
range, the line in the reference and the entry in the artefact. A field made by `fitted` is a learned array, saved and
loaded by the framework as a plain `.npy` file. There is no registry, and nothing is imported before a recipe names it.
"""

import dataclasses
import importlib
import pkgutil
import re
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from shortlist.core.batch import Array
from shortlist.core.errors import BundleError, ConfigError, choices, unknown
from shortlist.core.units import seconds

KINDS = ("retrieve", "feature", "rank", "order", "state.fold")
_NAME = re.compile(r"^[a-z][a-z0-9_]*$")


def param(
    default: Any,
    doc: str,
    *,
    low: float | None = None,
    high: float | None = None,
    options: tuple[str, ...] | None = None,
    duration: bool = False,
    empty: bool = False,
) -> Any:
    """A field that a recipe may set. low, high: inclusive bounds; options: the only values; duration: needs a unit ("2h"),
    or is empty where the default is or `empty` says so ("" = for ever, never, off: the doc says which).

    A list or dict default is copied for every object.
    """
    empty = empty or default == ""
    about = {"doc": doc, "low": low, "high": high, "options": options, "duration": duration, "empty": empty}
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=about)
    return dataclasses.field(default=default, metadata=about)


def fitted(doc: str) -> Any:
    """A field that `fit` fills with a numpy array: saved with the bundle, memory-mapped on load, None before fit."""
    return dataclasses.field(default=None, init=False, repr=False, compare=False, metadata={"fitted": True, "doc": doc})


def hidden(default: Any) -> Any:
    """A field that is neither an option nor learned: what a part works out for itself. A mutable default is copied."""
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=lambda: type(default)(default), init=False, repr=False, compare=False)
    return dataclasses.field(default=default, init=False, repr=False, compare=False)


def parameters(part: Any) -> tuple[dataclasses.Field[Any], ...]:
    """The fields of a part (class or object) that a recipe may set."""
    return tuple(field for field in dataclasses.fields(part) if field.init)


def learned(part: Any) -> tuple[str, ...]:
    """The names of a part's `fitted` fields."""
    return tuple(field.name for field in dataclasses.fields(part) if field.metadata.get("fitted"))


def names(kind: str) -> list[str]:
    """The built-in parts of a kind: the files of its folder."""
    package = importlib.import_module(f"shortlist.{kind}")
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_"))


def class_name(name: str) -> str:
    """The class in a part's file: `ctr_top` -> `CtrTop`."""
    return "".join(word.capitalize() for word in name.split("_"))


def find(kind: str, name: object, place: str = "") -> type[Any]:
    """The class of a part. name: a file of `shortlist/<kind>/`, or a dotted path to a module (`mypkg.newest`, whose class
    is `Newest`) or to a class (`mypkg.parts.Newest`)."""
    where = f"{place}: " if place else ""
    if not isinstance(name, str) or not name:
        raise ConfigError(f"{where}type must be the name of a part, not {name!r}; choices: {choices(names(kind))}")
    if "." in name:
        return _foreign(name, where)
    if not _NAME.match(name) or name not in names(kind):
        raise ConfigError(f"{where}{unknown(f'{kind} part', name, names(kind))}, or a dotted path")
    module = importlib.import_module(f"shortlist.{kind}.{name}")
    return typing.cast("type[Any]", getattr(module, class_name(name)))


def _foreign(path: str, where: str) -> type[Any]:
    """The class at a dotted path: of a module by the naming rule, or named outright."""
    if not all(word.isidentifier() for word in path.split(".")):
        raise ConfigError(f"{where}not a dotted path: {path!r}; write it as in an import, for example 'mypkg.newest'")
    parent, _, last = path.rpartition(".")
    for module_name, attribute in ((path, class_name(last)), (parent, last)):
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            # Only "this module is not there" means try the next reading; a missing import inside it is its own error.
            if error.name is None or not (module_name == error.name or module_name.startswith(error.name + ".")):
                raise
            continue
        found = getattr(module, attribute, None)
        if isinstance(found, type) and dataclasses.is_dataclass(found):
            return found
    raise ConfigError(
        f"{where}no part at {path!r}: expected a module with a dataclass {class_name(last)!r}, or the path of a dataclass"
    )


def build(kind: str, spec: Mapping[str, Any], place: str = "") -> Any:
    """A part from its recipe entry: `{"type": "ease", "reg": 500}`. place: where the entry stands, for messages."""
    where = place or kind
    if "type" not in spec:
        raise ConfigError(f"{where}: no type; choices: {choices(names(kind))}, or a dotted path")
    cls = find(kind, spec["type"], where)
    return filled(cls, {key: value for key, value in spec.items() if key != "type"}, where)


def filled(cls: type[Any], given: Mapping[str, Any], where: str) -> Any:
    """An object of a dataclass from recipe options, each checked against its field."""
    known = {field.name: field for field in parameters(cls)}
    hints = typing.get_type_hints(cls)
    values = {}
    for key, value in given.items():
        if key not in known:
            raise ConfigError(f"{where}: {unknown('option', key, known, 'options')}")
        values[key] = check(value, hints[key], known[key].metadata, f"{where}.{key}")
    for key, field in known.items():
        if key not in values and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{where}: option {key!r} must be given; options: {choices(known)}")
    return cls(**values)


def check(value: Any, hint: Any, about: Mapping[str, Any], where: str) -> Any:
    """A recipe value checked against the field's type and bounds; lists become what the field asks for."""
    value = _typed(value, hint, where)
    if about.get("duration") and isinstance(value, str) and not (about.get("empty") and value == ""):
        try:
            seconds(value)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
    if about.get("duration") and isinstance(value, list | tuple):
        for entry in value:
            check(entry, str, about, where)
    if about.get("options") is not None and value not in about["options"]:
        raise ConfigError(f"{where}: {value!r} is not a choice; choices: {choices(about['options'])}")
    if isinstance(value, int | float) and not isinstance(value, bool):
        low, high = about.get("low"), about.get("high")
        if value != value or (low is not None and value < low) or (high is not None and value > high):
            raise ConfigError(
                f"{where}: {value!r} is out of range [{'' if low is None else low}, {'' if high is None else high}]"
            )
    return value


def _typed(value: Any, hint: Any, where: str) -> Any:
    """The value as the annotated type, or a ConfigError: int passes for float, a TOML array for list and tuple, one text for a list
    of texts."""
    origin = typing.get_origin(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        for option in typing.get_args(hint):
            try:
                return _typed(value, option, where)
            except ConfigError:
                continue
    elif hint is type(None):
        if value is None:
            return None
    elif hint is float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    elif hint is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif origin in (list, tuple):
        inner = typing.get_args(hint)
        if isinstance(value, str) and inner and inner[0] is str:
            value = [value]  # one text where several may stand: event = "click"
        if isinstance(value, list | tuple):
            entries = [_typed(entry, inner[0] if inner else Any, f"{where}[{i}]") for i, entry in enumerate(value)]
            return entries if origin is list else tuple(entries)
    elif origin is dict or hint is dict:
        if isinstance(value, dict):
            return dict(value)
    elif isinstance(hint, type) and isinstance(value, hint):
        return value
    expected = getattr(hint, "__name__", str(hint)) if origin is None else str(hint)
    raise ConfigError(f"{where}: expected {expected}, got {type(value).__name__} {value!r}")


def config(part: Any) -> dict[str, Any]:
    """The recipe entry that builds this part again: every parameter, written out."""
    module = type(part).__module__
    _, _, stem = module.rpartition(".")
    if module.startswith("shortlist.") and class_name(stem) == type(part).__name__:
        name = stem
    else:
        # A module without a package has no dot in its name, which alone would be read as the name of a built-in part.
        follows = class_name(stem) == type(part).__name__ and "." in module
        name = module if follows else f"{module}.{type(part).__name__}"
    entry: dict[str, Any] = {"type": name}
    for field in parameters(part):
        value = getattr(part, field.name)
        entry[field.name] = list(value) if isinstance(value, tuple) else value
    return entry


def save(part: Any, folder: Path) -> None:
    """Write a part's learned arrays into a folder, and its native model files when it has any (`save_files`)."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in learned(part):
        array = getattr(part, name)
        if array is not None:
            save_array(folder / f"{name}.npy", np.asarray(array))
    if hasattr(part, "save_files"):
        part.save_files(folder)


def load(part: Any, folder: Path) -> None:
    """Fill a part's learned arrays from a folder, memory-mapped. Loading runs no code: arrays of plain numbers only."""
    for name in learned(part):
        path = folder / f"{name}.npy"
        setattr(part, name, load_array(path) if path.exists() else None)
    if hasattr(part, "load_files"):
        part.load_files(folder)


def save_array(path: Path, array: Array) -> None:
    """Write one array of plain numbers as `.npy`."""
    if array.dtype.hasobject:
        raise BundleError(f"{path.name}: arrays of Python objects cannot be saved; store numbers")
    np.save(path, np.asarray(array, order="C"), allow_pickle=False)


def load_array(path: Path) -> Array:
    """Memory-map one `.npy` file, copy-on-write: changes stay in memory (and kernels see the type that they see while
    fitting, so they are not compiled twice). Zero-sized and 0-d arrays, which cannot be mapped, are read."""
    try:
        array: Array = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        try:
            array = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise BundleError(f"{path}: not a readable array file: {error}") from None
    if not isinstance(array, np.ndarray):  # a zip of arrays under the wrong name
        raise BundleError(f"{path}: not a readable array file: holds {type(array).__name__}")
    # A plain view: subclasses such as memmap slow every small operation on the request path.
    return array.view(np.ndarray) if isinstance(array, np.memmap) else array
