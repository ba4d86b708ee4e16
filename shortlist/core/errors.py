"""Errors that a person caused and can mend: one line naming the thing, the value, the choices and the place."""

import difflib
from collections.abc import Iterable


class ShortlistError(Exception):
    """Bad input. The command line prints its message on one line and exits with code 2; a traceback would not help."""


class DataError(ShortlistError):
    """A table or log that breaks the schema."""


class ConfigError(ShortlistError):
    """A recipe, or an option of a part, that cannot be meant as written."""


class BundleError(ShortlistError):
    """An artefact that is damaged, incompatible, or cannot be written."""


class MissingExtra(ShortlistError):
    """An optional package that a part needs and that is not installed."""


def choices(names: Iterable[object], limit: int = 30) -> str:
    """Names joined for a message, the long lists cut: `ease, ials, itemknn`."""
    listed = [str(name) for name in names]
    if not listed:
        return "none"
    more = f", and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + more


def unknown(thing: str, name: str, known: Iterable[str], label: str = "choices") -> str:
    """What to say of a name that is not known: `unknown option 'regul'; did you mean 'reg'? options: reg, last`."""
    listed = list(known)
    near = difflib.get_close_matches(name, listed, 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {thing} {name!r}; {hint}{label}: {choices(listed)}"
