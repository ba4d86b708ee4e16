"""A data set as a recipe wants it read."""

from dataclasses import replace

from shortlist.data import dataset
from shortlist.data.dataset import Dataset
from shortlist.pipeline.config import Recipe


def data_for(recipe: Recipe, spec: str) -> Dataset:
    """The data set at `spec` (a folder, or NAME:PATH), with the loader options and column kinds of the recipe."""
    tables = dataset.tables(spec, **recipe.data.options)
    categories = (*tables.categories, *recipe.data.categories)
    numbers = (*tables.numbers, *recipe.data.numbers)
    return dataset.encode(replace(tables, categories=categories, numbers=numbers))
