"""Reading a run folder: the files that a backtest left, or one clear line about what is not there."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shortlist.core.errors import ConfigError, DataError, choices

REQUIRED = "metrics.json"


def read(run: Path, name: str) -> dict[str, Any]:
    """A JSON file of a run; {} when it is missing. DataError for a folder that is not a run, or JSON that is broken."""
    path = run / name
    if not path.is_file():
        if name != REQUIRED:
            return {}
        about = f"it has no {REQUIRED}" if run.is_dir() else "there is no such folder"
        raise DataError(f"{run}: not a run folder: {about}; `shortlist backtest` makes one")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: not JSON: {error}") from None
    if not isinstance(found, dict):
        raise DataError(f"{path}: expected a JSON object, got {type(found).__name__}")
    return found


def figures(system: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The metrics of one system by name, each {"value", "low", "high"} (a plain number has no interval); slices left out."""
    found = {}
    for name, figure in system.items():
        if isinstance(figure, dict) and "value" in figure:
            found[name] = figure
        elif isinstance(figure, int | float):
            found[name] = {"value": figure}
    return found


def main_metric(systems: dict[str, Any]) -> str:
    """What the run is judged by: see `main_of`. ConfigError where no system has a figure."""
    names = list(dict.fromkeys(name for system in systems.values() for name in figures(system)))
    if not names:
        raise ConfigError(f"no metric in any of the systems {choices(systems)}")
    return main_of(names)


def main_of(names: Sequence[str]) -> str:
    """Of some metrics the main one: gauc where impressions were given, else ndcg@10, another NDCG, auc, or whatever comes first."""
    for wanted in ("gauc", "ndcg@10", *(name for name in names if name.startswith("ndcg")), "auc"):
        if wanted in names:
            return wanted
    return names[0]
