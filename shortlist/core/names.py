"""Columns chosen by name: exact, a prefix that ends in *, or a suffix that begins with *."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def named(name: str, entries: Sequence[str]) -> bool:
    """Does one of the entries mean this name?"""
    return any(
        name == entry
        or (entry.endswith("*") and name.startswith(entry[:-1]))
        or (entry.startswith("*") and name.endswith(entry[1:]))
        for entry in entries
    )


def kept(names: Iterable[str], drop: Sequence[str], spare: Sequence[str] = ()) -> tuple[str, ...]:
    """The names that `drop` does not mean, or that `spare` means all the same, in order."""
    return tuple(name for name in names if named(name, spare) or not named(name, drop))
