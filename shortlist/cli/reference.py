"""Writes docs/reference.md from the code: every command, every recipe table, every part, every option.

Run it as `python -m shortlist.cli.reference` from the root of the repository; a test checks that the page is up to date.
"""

import dataclasses
import importlib
import inspect
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from shortlist.cli.main import COMMANDS, app
from shortlist.core.component import class_name, names, parameters
from shortlist.pipeline.config import Recipe
from shortlist.pipeline.limits import ON_ERROR

PAGE = Path("docs/reference.md")
FOLDERS = {
    "retrieve": (
        "Sources",
        (
            "`[[source]]`: adds candidate rows, each with its score. Besides its own options each takes `name` (its type when not "
            "given) and `quota`, how many items it is asked for (100)."
        ),
    ),
    "order": (
        "Filters and rules",
        "`[[filter]]` drops rows before ranking; `[[rule]]` keeps and reorders rows after it.",
    ),
    "feature": ("Features", "`[[feature]]`: adds columns."),
    "rank": (
        "Rankers",
        (
            "`[[ranker]]`: adds one score column. Besides its own options each takes `name` and `keep`, how many rows it leaves for "
            "what comes after it (0 = all)."
        ),
    ),
    "state.fold": ("Folds", "Aggregates over the event log. Features and sources ask for them; foreign parts may too."),
}


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE}: written", file=sys.stderr)


def page() -> str:
    """The whole reference, as Markdown."""
    return "\n".join(_lines()).rstrip() + "\n"


def _lines() -> Iterator[str]:
    yield "# Reference"
    yield ""
    yield "Generated from the code by `make docs`; do not edit. How to read a recipe: [recipe](recipe.md)."
    yield ""
    yield "## Commands"
    for name in COMMANDS:
        yield from _command(name)
    yield "\n## Recipe tables\n"
    yield "`title` (text) and `seed` (integer) stand at the top of a recipe, before the tables."
    yield ""
    yield "Every part's entry may set its limits in a service: `budget_ms` (0 = half of the deadline) and `on_error`:"
    yield (
        "; ".join(f"{stage}: {', '.join(f'`{choice}`' for choice in allowed)}" for stage, allowed in ON_ERROR.items())
        + "."
    )
    for field in dataclasses.fields(Recipe):
        if isinstance(field.default_factory, type) and dataclasses.is_dataclass(field.default_factory):
            yield f"\n### [{field.name}]\n"
            yield from _part(field.default_factory)
    for kind, (title, about) in FOLDERS.items():
        yield f"\n## {title}\n"
        yield about
        for name in names(kind):
            module = importlib.import_module(f"shortlist.{kind}.{name}")
            yield f"\n### {name}\n"
            yield _prose(module.__doc__) + "\n"
            yield from _part(getattr(module, class_name(name)))


def _command(name: str) -> Iterator[str]:
    """A command, or the commands of a group."""
    tree: Any = typer.main.get_command(app([name])).commands[name]  # type: ignore[attr-defined]  # a group, not a command
    for command in getattr(tree, "commands", {"": tree}).values():
        title = name if command is tree else f"{name} {command.name}"
        yield f"\n### shortlist {title}\n"
        yield _prose(command.help)
        yield ""
        yield "| argument or option | default | what it is |"
        yield "|---|---|---|"
        for option in command.params:
            if option.name == "help":
                continue
            is_option = any(text.startswith("-") for text in option.opts)
            shown = ", ".join(option.opts) if is_option else (option.metavar or option.name.upper())
            default = "" if option.required or option.default in (None, False) else f"`{option.default}`"
            yield f"| `{shown}` | {'required' if option.required else default} | {_cell(option.help)} |"


def _part(part: type[Any]) -> Iterator[str]:
    """The docstring and the options of a part or a recipe table."""
    yield _prose(inspect.getdoc(part))
    options = parameters(part)
    if not options:
        yield "\nNo options."
        return
    hints = typing.get_type_hints(part)
    yield "\n| option | type | default | what it is |"
    yield "|---|---|---|---|"
    for option in options:
        about = option.metadata
        yield f"| `{option.name}` | {_type(hints[option.name])} | {_default(option)} | {_cell(about.get('doc'))}{_limits(about)} |"


def _type(hint: Any) -> str:
    return _cell(
        hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint).replace("typing.", "")
    )


def _default(option: "dataclasses.Field[Any]") -> str:
    if option.default is not dataclasses.MISSING:
        value = option.default
    elif option.default_factory is not dataclasses.MISSING:
        value = option.default_factory()
    else:
        return "required"
    return f"`{list(value) if isinstance(value, tuple) else value!r}`"


def _limits(about: "typing.Mapping[str, Any]") -> str:
    """Bounds, choices and units, as an addition to the doc."""
    parts = []
    if about.get("options") is not None:
        parts.append("one of " + ", ".join(f"`{choice}`" for choice in about["options"]))
    low, high = about.get("low"), about.get("high")
    if low is not None and high is not None:
        parts.append(f"{low:g} to {high:g}")
    elif low is not None:
        parts.append(f"at least {low:g}")
    elif high is not None:
        parts.append(f"at most {high:g}")
    if about.get("duration"):
        parts.append("a duration such as `2h`")
    return f" ({'; '.join(parts)})" if parts else ""


def _prose(text: str | None) -> str:
    """A docstring as Markdown: its own line breaks, its `code` as it is, and no marks elsewhere that Markdown would take
    for emphasis or tags."""
    parts = inspect.cleandoc(text or "").split("`")
    parts[::2] = [part.replace("*", "\\*").replace("<", "&lt;") for part in parts[::2]]
    return "`".join(parts)


def _cell(text: str | None) -> str:
    """Text that is safe inside a table."""
    return " ".join(_prose(text).split()).replace("|", "\\|")


if __name__ == "__main__":
    main()
