"""Compare runs over the same requests: paired differences with their intervals."""

from pathlib import Path
from typing import Annotated

import typer

from shortlist.cli.options import Json
from shortlist.cli.output import as_json, stdout
from shortlist.experiment.compare import compare, table


def run(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Folders that `shortlist backtest` wrote.")],
    metric: Annotated[
        str,
        typer.Option(
            "--metric",
            help="The figure to compare, as in metrics.json; what the first run is judged by when empty (GAUC where impressions were given, else NDCG).",
        ),
    ] = "",
    system: Annotated[
        str, typer.Option("--system", help="Which system of each run: pipeline, or source:NAME.")
    ] = "pipeline",
    json: Json = False,
) -> None:
    """Read the runs, compare, show."""
    found = compare(runs, metric, system)
    if json:
        as_json(found)
    else:
        stdout(markup=True).print(table(found))
