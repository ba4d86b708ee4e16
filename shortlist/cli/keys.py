"""API keys of a service: make, list, rotate and revoke them. A key is shown once, when it is made; at rest there is only its hash."""

from pathlib import Path
from typing import Annotated

import typer

from shortlist.cli.options import Json
from shortlist.cli.output import as_json, note, say, table
from shortlist.core.units import iso, seconds
from shortlist.serve.security import Key, Keys

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)

File = Annotated[Path, typer.Option("--keys", help="The file of keys: the one that `serve` is given.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `list` shows it.")]
DEFAULT = Path("shortlist.keys")


@app.command()
def make(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who it is for; for people to read.")],
    scope: Annotated[
        list[str], typer.Option("--scope", help="read, write or admin; may be given again. Each opens its own only.")
    ],
    expires: Annotated[str, typer.Option("--expires", help="How long it works: `90d`; for ever when not given.")] = "",
    keys: File = DEFAULT,
    json: Json = False,
) -> None:
    """Make a key and print it, once. The file is made where there is none."""
    _show(*Keys(keys).make(name, scope, seconds(expires) if expires else 0.0), json)


@app.command("list")
def listed(keys: File = DEFAULT, json: Json = False) -> None:
    """The keys, without their secrets."""
    rows = [_row(key) for key in Keys(keys).listed()]
    if json:
        as_json(rows)
    elif rows:
        table(rows)
    else:
        say(f"{keys}: no keys")


@app.command()
def rotate(
    key: Id,
    grace: Annotated[str, typer.Option("--grace", help="How long the old key still works.")] = "1d",
    keys: File = DEFAULT,
    json: Json = False,
) -> None:
    """Make a key with the name and scopes of another one, which ends after a while."""
    _show(*Keys(keys).rotate(key, seconds(grace)), json)


@app.command()
def revoke(key: Id, keys: File = DEFAULT, json: Json = False) -> None:
    """End a key: running services refuse it within a second."""
    gone = Keys(keys).revoke(key)
    if json:
        as_json(_row(gone))
    else:
        say(f"{gone.id} ({gone.name}): revoked")


def _show(key: Key, sent: str, json: bool) -> None:
    if json:
        as_json({**_row(key), "key": sent})
        return
    say(sent)
    note(f"{key.id} ({key.name}): {', '.join(key.scopes)}; keep the line above, it is shown this once")


def _row(key: Key) -> dict[str, str]:
    return {
        "id": key.id, "name": key.name, "scopes": " ".join(key.scopes), "created": iso(key.created),
        "expires": iso(key.expires) if key.expires else "never",
    }  # fmt: skip
