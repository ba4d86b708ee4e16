"""The command `shortlist`. A command is a file of this folder; only the one that is asked for is imported, so that
`shortlist doctor` runs where half of the packages are broken."""

import ast
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from shortlist import __doc__ as about
from shortlist import __version__
from shortlist.core.errors import ShortlistError

COMMANDS = (
    "demo",
    "check",
    "fit",
    "backtest",
    "compare",
    "features",
    "tune",
    "recommend",
    "serve",
    "parity",
    "keys",
    "experiments",
    "data",
    "doctor",
)


def main(args: Sequence[str] | None = None) -> None:
    """Run a command and leave with its exit code: 0 done, 2 bad input (one line on stderr says what), 130 interrupted."""
    arguments = list(sys.argv[1:] if args is None else args)
    sys.exit(run(arguments))


def run(arguments: list[str]) -> int:
    """Run a command; its exit code."""
    first = next((word for word in arguments if not word.startswith("-")), "")
    named = first if first in COMMANDS else None
    try:
        code = app([named] if named else [])(arguments or ["--help"], prog_name="shortlist", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except typer.Exit as stop:
        return stop.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _complain("interrupted", 130)
    except BrokenPipeError:
        # The reader of a pipe has seen enough (`| head`). Python would complain again when it flushes at exit. Code 1 is
        # what typer gives when the pipe breaks earlier.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except typer.TyperException as error:
        help_for = f"shortlist {named}" if named else "shortlist"
        return _complain(f"{error.format_message()} (see `{help_for} --help`)", 2)
    except ShortlistError as error:
        return _complain(str(error), 2)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _complain(f"{where}{error.strerror or error}", 2)


def app(loaded: Sequence[str] = COMMANDS) -> typer.Typer:
    """The assembled command line. loaded: commands that are really imported; of the others, only the help line is there."""
    whole = typer.Typer(help=about, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
    whole.callback()(_options)
    for name in COMMANDS:
        if name not in loaded:
            whole.command(name, help=summary(name))(_absent)
            continue
        module = importlib.import_module(f"shortlist.cli.{name}")
        if hasattr(module, "app"):
            whole.add_typer(module.app, name=name, help=module.__doc__)
        else:
            whole.command(name, help=module.__doc__)(module.run)
    return whole


def summary(name: str) -> str:
    """The docstring of a command's file, read without importing it."""
    tree = ast.parse(Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8"))
    return ast.get_docstring(tree) or ""


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


def _options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Options of `shortlist` itself."""


def _absent() -> None:
    """Stands for a command that was not asked for."""


def _complain(message: str, code: int) -> int:
    """One line on stderr, whatever the message holds."""
    print(f"shortlist: {' '.join(message.split())}", file=sys.stderr)
    return code
