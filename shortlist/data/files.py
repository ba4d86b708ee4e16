"""Tables from files: Parquet, CSV, Arrow. One clear line for a file that is missing, empty or damaged."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from shortlist.core.errors import DataError, choices
from shortlist.data.schema import is_id

SUFFIXES = (".parquet", ".csv", ".arrow", ".feather")


def table(path: Path) -> pl.DataFrame:
    """Read one file by its suffix."""
    if not path.is_file():
        near = sorted(entry.name for entry in path.parent.iterdir()) if path.parent.is_dir() else []
        raise DataError(f"{path}: no such file; the folder has: {choices(near)}")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty")
    try:
        if path.suffix == ".parquet":
            return pl.read_parquet(path, glob=False)
        return _csv(path) if path.suffix == ".csv" else pl.read_ipc(path)
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: not readable as {path.suffix[1:]}: {reason}") from None


def _csv(path: Path) -> pl.DataFrame:
    """A CSV file. Ids are read as text and become integers only where nothing is lost by it: `007` is not `7`."""
    header = pl.read_csv(path, n_rows=0, glob=False).columns
    ids = {name: pl.String for name in header if is_id(name)}
    # The whole file decides the types: a column of integers whose last line is text is text.
    frame = pl.read_csv(path, schema_overrides=ids, infer_schema_length=None, try_parse_dates=True, glob=False)
    return frame.with_columns(_plain_integers(frame[name]) for name in ids)


def _plain_integers(values: pl.Series) -> pl.Series:
    """Text as Int64 when every value is how an integer is written, unchanged otherwise."""
    numbers = values.cast(pl.Int64, strict=False)
    same = bool((numbers.cast(pl.String) == values).fill_null(value=True).all())
    return numbers if same and numbers.null_count() == values.null_count() else values


def find(folder: Path, stem: str) -> Path | None:
    """The file of a table in a folder, by any known suffix; None when there is none, DataError when there are two."""
    found = [folder / f"{stem}{suffix}" for suffix in SUFFIXES if (folder / f"{stem}{suffix}").exists()]
    if len(found) > 1:
        raise DataError(f"{folder}: both {found[0].name} and {found[1].name}; keep one")
    return found[0] if found else None
