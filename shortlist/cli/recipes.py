"""Where the recipes are that come with Shortlist: one copy, at the root of the repository, which a wheel carries inside
the package."""

from pathlib import Path

import shortlist
from shortlist.core.errors import ConfigError, choices

_PACKAGE = Path(shortlist.__file__).parent
FOLDERS = (_PACKAGE / "recipes", _PACKAGE.parent / "recipes")


def built_in(name: str) -> Path:
    """The file of a recipe that comes with Shortlist: `demo` -> .../recipes/demo.toml."""
    for folder in FOLDERS:
        path = folder / f"{name}.toml"
        if path.is_file():
            return path
    known = sorted(path.stem for folder in FOLDERS if folder.is_dir() for path in folder.glob("*.toml"))
    raise ConfigError(f"no recipe {name!r} comes with this installation; choices: {choices(known)}")
