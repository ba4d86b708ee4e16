"""Fit a recipe on a data set and write the bundle that `recommend` and `serve` load."""

import time
from pathlib import Path
from typing import Annotated

import typer

from shortlist.cli.options import Data, Frame, Json, Recipe, Seed, Sets, overrides
from shortlist.cli.output import as_json, check_suffix, say, write_table
from shortlist.cli.progress import Watch
from shortlist.cli.reading import data_for, recipe_at
from shortlist.core.files import refuse_others
from shortlist.experiment.fit import fit
from shortlist.pipeline.bundle import MANIFEST


def run(
    recipe: Recipe,
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="Where the bundle goes: a folder, replaced whole or not at all.")],
    frame: Frame = None,
    sets: Sets = None,
    seed: Seed = None,
    json: Json = False,
) -> None:
    """Read, fit, save."""
    started = time.perf_counter()
    chosen = recipe_at(recipe, overrides(sets, seed))
    refuse_others(out, MANIFEST)
    if frame is not None:
        check_suffix(frame, "--frame")
    dataset = data_for(chosen, data)
    with Watch() as progress:
        fitted = fit(chosen, dataset, progress)
        fitted.save(out)
    if frame is not None:
        write_table(fitted.frame_table(), frame)
    seconds = round(time.perf_counter() - started, 2)
    if json:
        as_json({"bundle": out, "seconds": seconds})
        return
    say(f"{out}: fitted in {seconds:.1f} s")
    say(f"next: shortlist recommend {out} --users all --out recommendations.parquet")
