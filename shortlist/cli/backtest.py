"""Fit a recipe on the past, recommend in the test window, measure everything, and write the report."""

import shlex
import time
from pathlib import Path
from typing import Annotated

import typer

from shortlist.cli.options import Data, Frame, Json, Recipe, Seed, Sets, overrides
from shortlist.cli.output import as_json, check_suffix, write_table
from shortlist.cli.progress import Watch
from shortlist.cli.reading import data_for, recipe_at
from shortlist.cli.summary import show
from shortlist.experiment.backtest import backtest
from shortlist.experiment.fit import Fitted


def run(
    recipe: Recipe,
    data: Data,
    out: Annotated[
        Path, typer.Option("--out", help="The folder of the run: metrics.json, funnel.json, report.html ...")
    ],
    frame: Frame = None,
    sets: Sets = None,
    seed: Seed = None,
    json: Json = False,
) -> None:
    """Read, run, show."""
    started = time.perf_counter()
    chosen = recipe_at(recipe, overrides(sets, seed))
    if frame is not None:
        check_suffix(frame, "--frame")
    dataset = data_for(chosen, data)

    def look(fitted: Fitted) -> None:
        if frame is not None:
            write_table(fitted.frame_table(), frame)

    with Watch() as progress:
        metrics = backtest(chosen, dataset, out, progress, _command(recipe, data, out, overrides(sets, seed)), look)
    if json:
        as_json(metrics)
    else:
        show(out, metrics, time.perf_counter() - started)


def _command(recipe: Path, data: str, out: Path, changes: list[str]) -> str:
    """The run as one line that can be pasted, for the report."""
    words = ["shortlist", "backtest", str(recipe), "--data", data, "--out", str(out)]
    return shlex.join([*words, *(word for change in changes for word in ("--set", change))])
