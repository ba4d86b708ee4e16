"""A folder of your own: `events`, and optionally `items` and `users`, each as .parquet, .csv, .arrow or .feather."""

from pathlib import Path

from shortlist.core.errors import DataError, choices
from shortlist.data import files
from shortlist.data.schema import Tables


def load(
    folder: Path,
    *,
    default_kind: str = "interaction",
    context: tuple[str, ...] = (),
    categories: tuple[str, ...] = (),
    numbers: tuple[str, ...] = (),
) -> Tables:
    """Read the tables as they are. context: event columns to keep (all when none is named); categories, numbers: columns
    whose kind the file types get wrong."""
    if not folder.is_dir():
        raise DataError(
            f"{folder}: no such folder; expected one with events.parquet (or {choices(files.SUFFIXES[1:])})"
        )
    paths = {stem: files.find(folder, stem) for stem in ("events", "items", "users")}
    if paths["events"] is None:
        there = sorted(path.name for path in folder.iterdir())
        raise DataError(
            f"{folder}: no events table; expected events with one of {choices(files.SUFFIXES)}; the folder has: {choices(there)}"
        )
    tables = {stem: files.table(path) if path is not None else None for stem, path in paths.items()}
    events = tables["events"]
    assert events is not None
    return Tables(
        events,
        tables["items"],
        tables["users"],
        name=folder.resolve().name,
        default_kind=default_kind,
        context=tuple(context),
        categories=tuple(categories),
        numbers=tuple(numbers),
    )
