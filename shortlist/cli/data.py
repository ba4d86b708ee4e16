"""Data sets: fetch a public one, or make one of a service's log."""

from pathlib import Path
from typing import Annotated

import typer

from shortlist.cli.options import Bundle, Json
from shortlist.cli.output import as_json, say
from shortlist.cli.progress import Watch
from shortlist.core.errors import ConfigError
from shortlist.core.files import refuse_others
from shortlist.data import get as getting
from shortlist.data.dataset import tables
from shortlist.pipeline.bundle import manifest
from shortlist.serve import export as exporting
from shortlist.serve import prune as pruning
from shortlist.serve.eventlog.contract import EventLog
from shortlist.serve.eventlog.open import open_log
from shortlist.serve.swap import named

app = typer.Typer()


@app.command()
def get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The data set, by the name of its loader, such as ml1m.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to put it.")],
    json: Json = False,
) -> None:
    """Fetch a public data set from its own home, check its sum, unpack it."""
    with Watch() as progress:
        found = getting.get(name, folder, progress)
    if json:
        as_json({"name": name, "folder": folder, "found": found})
    else:
        say(f"{folder}: {name} is there; next: shortlist check {name}:{folder}")


@app.command()
def export(
    log: Annotated[str, typer.Option("--log", help="The log of a service: sqlite:PATH or redis://...")],
    out: Annotated[Path, typer.Option("--out", help="The folder to write.")],
    data: Annotated[
        str,
        typer.Option("--data", help="The data that the service began with (a folder, or NAME:PATH): they come first."),
    ] = "",
    impression: Annotated[
        str, typer.Option("--impression", help="The event kind of what was shown; '' = leave it out.")
    ] = "impression",
    json: Json = False,
) -> None:
    """Make a data set of a service's log: events, what was shown, items and users as they have become. The service may run meanwhile."""
    refuse_others(out, exporting.ABOUT)
    base = tables(data) if data else None
    held = there(log)
    try:
        made = exporting.export(held, out, base, impression)
    finally:
        held.close()
    if json:
        as_json({"out": out, **vars(made)})
        return
    if made.pruned:
        held_by = f"as far as {data} has it" if data else "not here: give the data that hold it (--data)"
        say(f"the log was pruned up to position {made.pruned}: what came before is {held_by}")
    for why, count in made.left_out.items():
        say(f"left out: {count:,} {why}")
    say(
        f"{out}: {made.events:,} events and {made.impressions:,} impressions of the log, up to position {made.position}"
    )
    say(f"next: shortlist fit RECIPE --data {out} --out BUNDLE")
    say(f"then: shortlist serve BUNDLE --log LOG --after {made.position}")


@app.command()
def prune(
    bundle: Bundle,
    log: Annotated[str, typer.Option("--log", help="The log of a service: sqlite:PATH or redis://...")],
    json: Json = False,
) -> None:
    """Clear a service's log of the events and answers that a bundle's data hold (`serve --after`). No older bundle can be started on it again, and parity of
    those answers is gone; keys, items and erasures stay. The service may run meanwhile, with this bundle or a newer one."""
    manifest(bundle)
    name = named(str(bundle))
    held = there(log)
    try:
        upto, cleared = pruning.prune(held, name)
    finally:
        held.close()
    if json:
        as_json({"bundle": name, "position": upto, "cleared": cleared})
    else:
        say(
            f"{cleared:,} entries up to position {upto} are cleared; bundles older than {bundle} need the log as it was"
        )


def there(log: str) -> EventLog:
    """The log at an address. ConfigError for a file that is not there: it must not be made."""
    if log.startswith("sqlite:") and not Path(log.partition(":")[2]).expanduser().exists():
        raise ConfigError(f"--log {log}: no such log")
    return open_log(log)
