"""Results go to stdout, everything else to stderr: a pipe gets the result only."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

from shortlist.core.errors import ConfigError

SUFFIXES = (".parquet", ".csv")  # of tables that commands write


def stdout(*, markup: bool = False) -> Console:
    """A console on stdout; wide when nobody watches, so that a pipe gets whole lines. markup: colours as `[green]`."""
    console = Console(highlight=False, markup=markup)
    return console if console.is_terminal else Console(highlight=False, markup=markup, width=240)


def stderr() -> Console:
    """A console on stderr, for progress and remarks."""
    return Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def say(text: str = "") -> None:
    """A line of the result, on stdout, never wrapped."""
    stdout().print(text, soft_wrap=True)


def note(text: str) -> None:
    """A remark, on stderr."""
    stderr().print(text)


def as_json(value: Any) -> None:
    """The result as JSON, on stdout."""
    print(json.dumps(plain(value), indent=1, ensure_ascii=False, allow_nan=False))


def plain(value: Any) -> Any:
    """A value as JSON knows it: numpy numbers, paths and tuples unpacked, NaN and infinities as null."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(entry) for entry in value]
    return value


def table(rows: Sequence[Mapping[str, Any]], title: str = "") -> None:
    """Rows with the same keys as a table on stdout; numbers to the right."""
    if not rows:
        return
    if title:
        say(title)
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name, value in rows[0].items():
        shown.add_column(name, justify="right" if isinstance(value, int | float) else "left", no_wrap=True)
    for row in rows:
        shown.add_row(*(text(value) for value in row.values()))
    stdout().print(shown)


def text(value: Any) -> str:
    """A cell: floats to four significant places, nothing for nothing."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 100 else f"{value:.1f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def check_suffix(out: Path, option: str) -> None:
    """ConfigError unless the file's name says parquet or csv: asked before long work."""
    if out.suffix not in SUFFIXES:
        raise ConfigError(f"{option} {out}: unknown kind of file {out.suffix!r}; choices: {', '.join(SUFFIXES)}")


def write_table(frame: pl.DataFrame, out: Path) -> None:
    """Write whole or not at all: into a temporary file beside the target, then rename."""
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        if out.suffix == ".csv":
            frame.write_csv(unfinished)
        else:
            frame.write_parquet(unfinished)
        unfinished.replace(out)
    finally:
        unfinished.unlink(missing_ok=True)
