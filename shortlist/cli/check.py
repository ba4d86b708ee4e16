"""Check a data set: every violation of the schema with example rows, and a summary of what is there."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from shortlist.cli.options import Json
from shortlist.cli.output import as_json, say, table, text
from shortlist.core.errors import DataError
from shortlist.data.check import summary, violations, warnings
from shortlist.data.dataset import tables


def run(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A folder of tables, or NAME:PATH of a public data set.")],
    json: Json = False,
) -> None:
    """Read the raw tables, list what is wrong. Exit code 2 when anything is; a warning alone is none."""
    raw = tables(data)
    wrong = violations(raw)
    # Warnings and figures are about tables that can be encoded; broken ones would only break them too.
    odd = [] if wrong else warnings(raw)
    about = None if wrong else summary(raw).json()
    if json:
        listed = [violation.json() for violation in (*wrong, *odd)]
        as_json({"data": data, "violations": listed, "summary": about})
    else:
        for violation in (*wrong, *odd):
            say(f"{violation.severity}: {violation.line()}")
        if about is not None:
            show(about)
    if wrong:
        raise DataError(f"{data}: {len(wrong)} violation{'s' if len(wrong) > 1 else ''} of the schema")


def show(about: Mapping[str, Any]) -> None:
    """The summary, for a person."""
    rows = [
        {"what": name, "value": text(value)}
        for name, value in about.items()
        if name not in ("kinds", "columns", "missing", "notes")
    ]
    rows += [{"what": f"event {name}", "value": text(count)} for name, count in about["kinds"].items()]
    table(rows)
    if about["columns"]:
        say()
        missing = about["missing"]
        table(
            [{"column": n, "kind": kind, "missing": f"{missing.get(n, 0):.1%}"} for n, kind in about["columns"].items()]
        )
    for line in about["notes"]:
        say(f"note: {line}")
