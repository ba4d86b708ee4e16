"""Compare runs over the same requests: paired differences with their intervals."""

from pathlib import Path
from typing import Annotated

import typer

from shortlist.cli.options import Json
from shortlist.cli.output import as_json, table
from shortlist.core.errors import ConfigError
from shortlist.experiment.compare import compare


def run(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Folders that `shortlist backtest` wrote.")],
    metric: Annotated[str, typer.Option("--metric", help="The figure to compare, as in metrics.json.")] = "ndcg@10",
    json: Json = False,
) -> None:
    """Read the runs, compare, show."""
    if len(runs) < 2:
        raise ConfigError(f"compare needs two runs or more, got {len(runs)}: {runs[0]}")
    found = compare(runs, metric)
    if json:
        as_json(found)
    else:
        table(found)
