"""Choose on the label windows what a recipe leaves to judgement: the sources' quotas, by marginal recall under a budget."""

from pathlib import Path
from typing import Annotated

import typer

from shortlist.cli.options import Data, Json, Recipe, Seed, Sets, overrides
from shortlist.cli.output import as_json, note, say, table
from shortlist.cli.progress import Watch
from shortlist.cli.reading import data_for, recipe_at, recipe_file
from shortlist.core.errors import ConfigError
from shortlist.experiment.requote import requote
from shortlist.experiment.tune import Tuned, tune


def run(
    recipe: Recipe,
    data: Data,
    pool: Annotated[
        int, typer.Option("--pool", help="Candidates per request, in the mean; the recipe's pool by default.", min=0)
    ] = 0,
    ms: Annotated[
        float,
        typer.Option(
            "--ms", help="Instead: milliseconds per request for sources, merge and features, in the mean.", min=0.0
        ),
    ] = 0.0,
    segments: Annotated[
        bool, typer.Option("--segments", help="A quota for each segment of users: cold, light, heavy.")
    ] = False,
    requests: Annotated[int, typer.Option("--requests", help="Requests per label window, at most.", min=1)] = 2000,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write a copy of the recipe with the quotas: a .toml file.")
    ] = None,
    sets: Sets = None,
    seed: Seed = None,
    json: Json = False,
) -> None:
    """Read, try, tell; write the copy."""
    given = overrides(sets, seed)
    chosen = recipe_at(recipe, given)
    if out is not None and out.suffix != ".toml":
        raise ConfigError(f"--out {out}: a recipe is a .toml file")
    dataset = data_for(chosen, data)
    with Watch() as progress:
        found = tune(chosen, dataset, pool=pool, ms=ms, apart=segments, requests=requests, progress=progress)
    if out is not None:
        requote(recipe_file(recipe), out, found.quotas, found.pool, given)
    if json:
        as_json(found.json())
    else:
        show(found)
    if out is not None:
        note(f"{out}: written")


def show(found: Tuned) -> None:
    """The report, for a person."""
    rows = [{name: _short(value) for name, value in row.items()} for row in found.sources]
    table(rows, "Quotas, by marginal recall on the label windows")
    say("recall: of all targets, by its quota alone; marginal_recall: what would be lost without it; ms: one request")
    say()
    table(
        found.judged,
        "Recall of the pool, and its mean size: with these quotas, with equal ones of the same size, with the recipe's own",
    )
    for line in found.notes:
        say(f"- {line}")


def _short(value: object) -> object:
    if isinstance(value, dict):
        return " / ".join(str(number) for number in value.values())
    return value
