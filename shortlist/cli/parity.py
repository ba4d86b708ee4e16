"""Recompute what a service has answered and recorded, and tell every feature that is not the same to the bit."""

from pathlib import Path
from typing import Annotated, Any

import typer

from shortlist.cli.options import Bundle, Json
from shortlist.cli.output import as_json, say, table
from shortlist.cli.progress import Watch
from shortlist.serve.parity import Parity, parity
from shortlist.serve.parity_log import parity_log


def run(
    bundle: Bundle,
    log: Annotated[
        str,
        typer.Option(
            "--log", help="The log of a service (sqlite:PATH or redis://...), or a folder that `Engine.record` wrote."
        ),
    ],
    most: Annotated[
        int, typer.Option("--most", help="Of a service's log, compare so many answers, evenly spread; 0 = all.", min=0)
    ] = 0,
    json: Json = False,
) -> None:
    """Exit code 0 when nothing differs, 1 when something does."""
    with Watch() as progress:
        if log.partition(":")[0] in ("sqlite", "redis", "rediss", "unix"):
            found = parity_log(bundle, log, progress, most)
        else:
            found = parity(bundle, Path(log), progress)
    if json:
        as_json(found.json())
    else:
        show(found)
    if found.differences:
        raise typer.Exit(1)


def show(found: Parity) -> None:
    """What was found, for a person."""
    table([row for row in listed(found) if row["mismatches"]])
    if found.recorded_by != found.bundle:
        say(f"the record is of bundle {found.recorded_by}, this one is {found.bundle}")
    for what, names in (
        ("recorded, but not computed by this bundle", found.missing_columns),
        ("not recorded", found.extra_columns),
    ):
        if names:
            say(f"columns {what}: {', '.join(names)}")
    if found.missing_requests:
        say(f"{found.missing_requests:,} requests are missing from the record")
    if found.missing_rows or found.extra_rows:
        say(
            f"rows recorded but not recomputed: {found.missing_rows:,}; recomputed but not recorded: {found.extra_rows:,}"
        )
    for why, count in found.left_out.items():
        say(f"not compared: {count:,} answers {why}")
    for line in found.example_rows[:5]:
        say(f"- {line}")
    say(
        f"{found.differences:,} differences in {found.requests:,} requests, {found.rows:,} rows and {len(found.columns)} columns "
        f"after {found.events:,} events; 0 expected"
    )


def listed(found: Parity) -> list[dict[str, Any]]:
    """A row per column, the worst first."""
    rows = []
    for name, entry in sorted(found.columns.items(), key=lambda pair: (-pair[1].mismatches, pair[0])):
        example = entry.example or {}
        rows.append({
            "column": name, "rows": entry.rows, "mismatches": entry.mismatches,
            "first": " ".join(f"{key}={value}" for key, value in example.items()),
        })  # fmt: skip
    return rows
