"""Check a data set: every violation of the schema with example rows, and a summary of what is there."""

from typing import Annotated

import typer

from shortlist.cli.options import Json
from shortlist.cli.output import as_json, say, table
from shortlist.core.errors import DataError
from shortlist.data import check, dataset


def run(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A folder of tables, or NAME:PATH of a public data set.")],
    json: Json = False,
) -> None:
    """Read the raw tables, list what is wrong. Exit code 2 when anything is."""
    tables = dataset.tables(data)
    found = check.violations(tables)
    about = check.summary(tables)
    if json:
        as_json({"data": data, "violations": found, "summary": about})
    else:
        for violation in found:
            say(str(violation))
        table([{"what": name, "value": str(value)} for name, value in about.items()], "Summary")
    if found:
        raise DataError(f"{data}: {len(found)} violation{'s' if len(found) > 1 else ''} of the schema")
