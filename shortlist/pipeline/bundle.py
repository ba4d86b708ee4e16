"""The bundle: a fitted pipeline with its state and catalogue as a folder of arrays, text and native model files. Written whole
or not at all; every file is hashed in the manifest; loading runs no code and maps the arrays."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import shortlist
from shortlist.core.component import load as load_part
from shortlist.core.component import save as save_part
from shortlist.core.contracts import FitContext
from shortlist.core.errors import BundleError, ConfigError
from shortlist.core.files import whole_folder
from shortlist.data.catalogue import Catalogue
from shortlist.pipeline.config import Recipe, parse
from shortlist.pipeline.pipeline import Pipeline
from shortlist.state.state import State

# 2: histories with values, several readings per aggregate, keys of any columns; 3: slots by what was met; 4: outgrown rings; 5: `linear` reads
# logarithms unless it is told not to, so what it learned before means something else
FORMAT = 5
MANIFEST = "manifest.json"


@dataclass
class Bundle:
    """What a folder holds. name: the first 12 hex digits of the manifest's hash: two bundles are the same when it is."""

    recipe: Recipe
    pipeline: Pipeline
    state: State
    ctx: FitContext
    fingerprint: str
    name: str = ""

    def __post_init__(self) -> None:
        for _, part in self.pipeline.parts():
            if hasattr(part, "stand_beside"):
                part.stand_beside(self.state)

    def save(self, folder: Path) -> None:
        """Write to a folder, atomically; an older bundle of that name is replaced, anything else is refused."""
        with whole_folder(folder, MANIFEST) as made:
            self.state.catalogue.save(made / "catalogue")
            self.state.snapshot(made / "state")
            for place, part in self.pipeline.parts():
                save_part(part, made / "parts" / place)
            (made / "recipe.json").write_text(json.dumps(self.recipe.resolved(), indent=1), encoding="utf-8")
            about = {
                "format": FORMAT,
                "shortlist": shortlist.__version__,
                "data": self.fingerprint,
                "positive": list(self.ctx.positive),
                "now": int(self.ctx.now),
                "seed": self.recipe.seed,
                "fallback": self.pipeline.fallback,
                "columns": list(self.pipeline.columns),
                "files": {
                    str(path.relative_to(made)): digest(path) for path in sorted(made.rglob("*")) if path.is_file()
                },
            }
            (made / MANIFEST).write_text(json.dumps(about, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, verify: bool = True) -> Bundle:
        """Read a folder. verify: hash every file against the manifest first. BundleError for a folder that is no bundle, of
        another format, incomplete or damaged; the message names the file."""
        about = manifest(folder)
        check(folder, about, verify)
        try:
            recipe = parse(
                json.loads((folder / "recipe.json").read_text(encoding="utf-8")), f"{folder.name}/recipe.json"
            )
            catalogue = Catalogue.load(folder / "catalogue")
        except (OSError, ValueError, KeyError, ConfigError) as error:
            raise BundleError(f"{folder}: cannot be loaded: {error}") from None
        pipeline = Pipeline.of(recipe)
        pipeline.fallback, pipeline.columns = about["fallback"], tuple(about["columns"])
        ctx = FitContext(
            catalogue,
            tuple(about["positive"]),
            about["now"],
            about["seed"],
            context=tuple(recipe.data.context),
            impression=recipe.data.impression,
        )
        pipeline.folds(ctx)  # parts work out which aggregates they read
        try:
            for place, part in pipeline.parts():
                load_part(part, folder / "parts" / place)
            state = State.load(folder / "state", catalogue)
        except (OSError, ValueError, KeyError) as error:
            raise BundleError(f"{folder}: cannot be loaded: {error}") from None
        return cls(recipe, pipeline, state, ctx, about["data"], digest(folder / MANIFEST)[:12])


def manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a bundle that this version can read."""
    path = folder / MANIFEST
    try:
        about: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(f"{folder}: is not a bundle: no {MANIFEST}") from None
    except (OSError, ValueError) as error:
        raise BundleError(f"{path}: damaged: {error}") from None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        found = about.get("format") if isinstance(about, dict) else None
        raise BundleError(
            f"{folder}: bundle format {found!r}, but shortlist {shortlist.__version__} reads format {FORMAT}: fit it again"
        )
    needed = {"files", "fallback", "columns", "positive", "now", "seed", "data"}
    if not needed <= about.keys():
        raise BundleError(f"{path}: damaged: without {', '.join(sorted(needed - about.keys()))}")
    if not isinstance(about["files"], dict):
        raise BundleError(f"{path}: damaged: `files` is not a table of hashes")
    return about


def check(folder: Path, about: dict[str, Any], verify: bool = True) -> None:
    """Every file of the manifest is there and, with verify, unchanged."""
    for name, expected in about["files"].items():
        path = folder / name
        if not path.is_file():
            raise BundleError(f"{folder}: the file {name} is missing")
        if verify and digest(path) != expected:
            raise BundleError(f"{folder}: the file {name} is damaged: its hash is not the manifest's")


def digest(path: Path) -> str:
    """sha256 of a file, in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
