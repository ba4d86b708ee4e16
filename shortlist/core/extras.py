"""The boundary to optional packages: the one place where an import may happen inside a function."""

import importlib
from types import ModuleType

from shortlist.core.errors import MissingExtra


def need(module: str, extra: str, reason: str) -> ModuleType:
    """Import an optional module, or say which package is missing, what for, and the command that brings it.

    module: import name, e.g. `torch`. extra: the name of the extra in pyproject.toml. reason: who needs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # the package is there, and something that it imports is not: its own error says what
        raise MissingExtra(
            f"{reason} needs the package {module!r}, which is not installed: pip install 'shortlist[{extra}]'"
        ) from error
