"""Public data sets: fetch and unpack."""

from pathlib import Path
from typing import Annotated

import typer

from shortlist.cli.options import Json
from shortlist.cli.output import as_json, say
from shortlist.cli.progress import Watch
from shortlist.data import get as getting

app = typer.Typer()


@app.callback()
def data() -> None:
    """Keeps `get` a command of its own while it is the only one."""


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
