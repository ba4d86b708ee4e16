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
from shortlist.core.files import refuse_others
from shortlist.data.dataset import encode
from shortlist.data.synthetic import world
from shortlist.experiment.backtest import backtest
from shortlist.experiment.fit import fit
from shortlist.pipeline import config
from shortlist.pipeline.bundle import MANIFEST


def run(
    out: Annotated[Path, typer.Option("--out", help="The folder of the run.")] = Path("runs/demo"),
    bundle: Annotated[
        Path | None, typer.Option("--bundle", help="Also fit on all of the world and write the bundle, to be served.")
    ] = None,
    seed: Seed = None,
    json: Json = False,
) -> None:
    """Make the world, run the recipe, show."""
    started = time.perf_counter()
    path = built_in("demo")
    recipe = config.read(path, overrides(None, seed))
    if bundle is not None:
        refuse_others(bundle, MANIFEST)
    tables = world(recipe.seed).tables
    note(f"a synthetic world: {len(tables.events):,} events; recipe: {path}")
    with Watch() as progress:
        metrics = backtest(recipe, encode(tables), out, progress)
        if bundle is not None:
            fit(recipe, encode(tables), progress).save(bundle)
    if json:
        as_json(metrics)
        return
    show(out, metrics, time.perf_counter() - started)
    say()
    if bundle is not None:
        say(f"{bundle}: fitted on all of it; next: shortlist serve {bundle}")
    say("next: your own tables")
    say("  shortlist check FOLDER                    events.parquet with user_id, item_id, time; see docs/index.md")
    say("  shortlist backtest generic --data FOLDER --out runs/first")
