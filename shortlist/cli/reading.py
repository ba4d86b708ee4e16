"""A recipe and a data set, as the command line names them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from shortlist.cli.recipes import built_in
from shortlist.data.dataset import Dataset, encode, tables
from shortlist.pipeline.config import Recipe, read


def recipe_at(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a file, or one that comes with Shortlist: see `recipe_file`."""
    return read(recipe_file(path), overrides)


def recipe_file(path: Path) -> Path:
    """The file of a recipe; a bare word such as `generic` is one that comes with Shortlist, unless it is a file here."""
    if not path.suffix and path.parent == Path() and not path.exists():
        return built_in(path.name)
    return path


def data_for(recipe: Recipe, spec: str) -> Dataset:
    """The data set at `spec` (a folder, or NAME:PATH), with the loader options and column kinds of the recipe."""
    raw = tables(spec, **recipe.data.options)
    categories = (*raw.categories, *recipe.data.categories)
    numbers = (*raw.numbers, *recipe.data.numbers)
    return encode(replace(raw, categories=categories, numbers=numbers))
