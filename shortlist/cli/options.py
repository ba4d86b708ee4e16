"""Options that several commands share, written once."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

Data: TypeAlias = Annotated[
    str, typer.Option("--data", help="A folder with events, items and users tables, or NAME:PATH of a public data set.")
]
Recipe: TypeAlias = Annotated[
    Path,
    typer.Argument(metavar="RECIPE.toml", help="The recipe: a file, or the name of one that comes along: generic."),
]
Sets: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override a value of the recipe; may be given again."),
]
Seed: TypeAlias = Annotated[int | None, typer.Option("--seed", help="The seed, instead of the recipe's.", min=0)]
Frame: TypeAlias = Annotated[
    Path | None, typer.Option("--frame", help="Also write the ranker's training rows here, as parquet or csv.")
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="The result as JSON on stdout, and nothing else there.")]
Bundle: TypeAlias = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A folder that `shortlist fit` wrote.")]


def overrides(sets: list[str] | None, seed: int | None) -> list[str]:
    """What `--set` and `--seed` change in the recipe, as `key.path=value` in TOML."""
    return [*(sets or []), *([] if seed is None else [f"seed={seed}"])]
