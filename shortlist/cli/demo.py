"""The two-minute tour: a synthetic world, a whole backtest on it, and its report."""

import time
from pathlib import Path
from typing import Annotated

import typer

from shortlist.cli.options import Json, Seed, overrides
from shortlist.cli.output import as_json, note, say
from shortlist.cli.progress import Watch
from shortlist.cli.recipes import built_in
from shortlist.cli.summary import show
from shortlist.data.dataset import encode
from shortlist.data.synthetic import world
from shortlist.experiment.backtest import backtest
from shortlist.pipeline import config


def run(
    out: Annotated[Path, typer.Option("--out", help="The folder of the run.")] = Path("runs/demo"),
    seed: Seed = None,
    json: Json = False,
) -> None:
    """Make the world, run the recipe, show."""
    started = time.perf_counter()
    path = built_in("demo")
    recipe = config.read(path, overrides(None, seed))
    tables = world(recipe.seed).tables
    note(f"a synthetic world: {len(tables.events):,} events; recipe: {path}")
    with Watch() as progress:
        metrics = backtest(recipe, encode(tables), out, progress)
    if json:
        as_json(metrics)
        return
    show(out, metrics, time.perf_counter() - started)
    say()
    say("next: your own tables")
    say("  shortlist check FOLDER                    events.parquet with user_id, item_id, time; see docs/index.md")
    say("  shortlist backtest generic --data FOLDER --out runs/first")
