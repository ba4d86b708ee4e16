"""Compare runs: paired intervals between systems that answered the same requests on the same data."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich import box
from rich.table import Table

from shortlist.core.batch import Array
from shortlist.core.errors import ConfigError, DataError, choices
from shortlist.experiment import runfiles
from shortlist.metric import interval

KEY = ["window", "user_id", "time"]


def compare(runs: Sequence[Path], metric: str = "", system: str = "pipeline", *, seed: int = 0) -> dict[str, Any]:
    """Each run's figure and every paired difference, later run minus earlier, over the requests that all runs share. metric: "" = what the
    first run is judged by: gauc where impressions were given, else NDCG.

    Requests are joined on (window, user_id, time); those that not all runs have are counted and left out. Intervals draw whole
    users. Returns `{"metric", "system", "data", "requests", "left_out": {run: n}, "systems": {run: F}, "paired":
    {"b - a": F}, "slices": {"warm": {"requests", "systems", "paired"}}}` with F = {"value", "low", "high"}, ready for JSON.
    DataError for a folder that is not a run, other data, other targets, or no shared requests; ConfigError for an unknown metric.
    """
    if len(runs) < 2:
        raise DataError(f"compare needs at least two runs, not {len(runs)}")
    names = _names(runs)
    data = _same_data(runs)
    metric = metric or _main(runs[0], system)
    tables = [_requests(run, f"{system}/{metric}") for run in runs]
    joined = _join(tables, names)
    values = np.stack([joined[f"value_{i}"].cast(pl.Float64).to_numpy() for i in range(len(runs))], axis=1)
    users = joined["user_id"].to_numpy()
    result: dict[str, Any] = {
        "metric": metric,
        "system": system,
        "data": data,
        "left_out": {name: len(table) - len(joined) for name, table in zip(names, tables, strict=True)},
        **_figures(values, users, names, seed),
        "slices": {},
    }
    slices = joined["slice"].to_numpy()
    for title in sorted({str(entry) for entry in slices if entry is not None}, reverse=True):
        rows = slices == title
        result["slices"][title] = _figures(values[rows], users[rows], names, seed)
    return result


def table(result: dict[str, Any]) -> Table:
    """What `compare` found, for the terminal: one row per run, then one per pair."""
    title = f"{result['system']}: {result['metric']} over {result['requests']:,} shared requests"
    slices = list(result["slices"])
    found = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    found.add_column("run or difference", overflow="fold")
    for heading in ("all", *(f"{name} ({result['slices'][name]['requests']:,})" for name in slices)):
        found.add_column(f"{heading} [dim]\\[95%][/dim]", justify="right")
    parts = [result, *(result["slices"][name] for name in slices)]
    for name in result["systems"]:
        found.add_row(name, *(_cell(part["systems"][name], sign="") for part in parts))
    found.add_section()
    for name in result["paired"]:
        found.add_row(name, *(_cell(part["paired"][name], sign="+") for part in parts))
    left_out = {name: count for name, count in result["left_out"].items() if count}
    if left_out:
        found.caption = "left out, not shared: " + ", ".join(f"{count:,} of {name}" for name, count in left_out.items())
    return found


def _cell(figure: dict[str, Any], sign: str) -> str:
    """`+0.0052 [+0.0031, +0.0074]`; a difference is green or red where its interval does not reach zero."""
    value, low, high = figure["value"], figure["low"], figure["high"]
    if value is None:
        return "-"
    text = f"{value:{sign}.4f}"
    if low is None or high is None:
        return text
    text += f" [dim]\\[{low:{sign}.4f}, {high:{sign}.4f}][/dim]"
    if not sign or low <= 0 <= high:
        return text
    return f"[green]{text}[/green]" if low > 0 else f"[red]{text}[/red]"


def _names(runs: Sequence[Path]) -> list[str]:
    """The folders' names, or their paths where two names are equal. DataError for a run that is given twice."""
    short = [run.resolve().name for run in runs]
    for i, run in enumerate(runs):
        if run.resolve() in [other.resolve() for other in runs[:i]]:
            raise DataError(f"{run}: given twice; compare needs different runs")
    return short if len(set(short)) == len(short) else [str(run) for run in runs]


def _same_data(runs: Sequence[Path]) -> Any:
    """The data fingerprint of all runs; DataError when they are not equal."""
    prints = [runfiles.read(run, "metrics.json").get("data") for run in runs]
    for run, fingerprint in zip(runs, prints, strict=True):
        if fingerprint != prints[0]:
            raise DataError(f"{run}: measured on other data ({fingerprint}) than {runs[0]} ({prints[0]})")
    return prints[0]


def _table(run: Path) -> Path:
    path = run / "requests.parquet"
    if not path.is_file():
        raise DataError(f"{run}: no requests.parquet, so its requests cannot be paired; run `shortlist backtest` again")
    return path


def _main(run: Path, system: str) -> str:
    """The main metric of what a run holds of a system; that of the pipeline where it does not have it."""
    columns = [name.rpartition("/") for name in pl.read_parquet_schema(_table(run))]
    for owner in (system, "pipeline"):
        names = [metric for name, _, metric in columns if name == owner]
        if names:
            return runfiles.main_of(names)
    return "ndcg@10"


def _requests(run: Path, column: str) -> pl.DataFrame:
    """Key columns, slice, targets and `value` of one run. `again` numbers requests that are equal in every key column."""
    path = _table(run)
    frame = pl.read_parquet(path)
    missing = [name for name in (*KEY, "slice", "targets") if name not in frame.columns]
    if missing:
        raise DataError(f"{path}: no column {missing[0]!r}; columns: {choices(frame.columns)}")
    if column not in frame.columns:
        system, _, metric = column.rpartition("/")
        measured = [name.rpartition("/") for name in frame.columns if "/" in name]
        if system not in {name for name, _, _ in measured}:
            raise ConfigError(f"{run}: unknown system {system!r}; choices: {choices(sorted({m[0] for m in measured}))}")
        known = [name for owner, _, name in measured if owner == system]
        raise ConfigError(f"{run}: unknown metric {metric!r} of {system}; choices: {choices(known)}")
    return frame.select(
        *KEY[:1],
        pl.col("user_id").cast(pl.String),
        "time",
        pl.int_range(pl.len()).over(KEY).alias("again"),
        "slice",
        "targets",
        pl.col(column).alias("value"),
    )


def _join(tables: list[pl.DataFrame], names: list[str]) -> pl.DataFrame:
    """The requests that all runs share, in the order of the first, with `value_0`, `value_1`, ...; DataError when a request
    has other targets in another run, or none is shared."""
    key = [*KEY, "again"]
    joined = tables[0].rename({"value": "value_0"})
    for i, other in enumerate(tables[1:], 1):
        renamed = other.drop("slice").rename({"value": f"value_{i}", "targets": "other"})
        joined = joined.join(renamed, on=key, how="inner", maintain_order="left")
        different = joined.filter(pl.col("targets") != pl.col("other"))
        if len(different):
            who = different.row(0, named=True)
            raise DataError(
                f"{names[i]}: {len(different)} of {len(joined)} shared requests have other targets than in {names[0]}; "
                f"the first is user {who['user_id']} in window {who['window']}: {who['other']}, not {who['targets']}"
            )
        joined = joined.drop("other")
    if not len(joined):
        raise DataError(
            f"no request is in all of the runs {choices(names)}: are their test windows or users different?"
        )
    return joined


def _figures(values: Array, users: Array, names: list[str], seed: int) -> dict[str, Any]:
    """Figures of the (n, runs) values and of every pair of columns, later minus earlier."""
    columns = {name: values[:, i] for i, name in enumerate(names)}
    pairs = {f"{b} - {a}": columns[b] - columns[a] for a, b in combinations(names, 2)}
    return {
        "requests": len(values),
        "systems": interval.summary(columns, users, seed=seed),
        "paired": interval.summary(pairs, users, seed=seed),
    }
