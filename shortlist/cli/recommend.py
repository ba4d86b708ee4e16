"""Recommend from a bundle, for a list of users or for all of them, into a Parquet or CSV file."""

import time
from pathlib import Path
from typing import Annotated

import typer

from shortlist.cli.options import Bundle, Json
from shortlist.cli.output import as_json, check_suffix, say, write_table
from shortlist.cli.progress import Watch
from shortlist.core.errors import ConfigError
from shortlist.core.units import moment
from shortlist.serve.engine import Engine


def run(
    bundle: Bundle,
    users: Annotated[str, typer.Option("--users", help="A text file with one user id per line, or `all`.")],
    out: Annotated[Path, typer.Option("--out", help="The file to write: .parquet or .csv.")],
    k: Annotated[int, typer.Option("-k", "--k", help="Items per user.", min=1)] = 10,
    at: Annotated[
        str | None,
        typer.Option("--time", help="When the requests are made: a date, or unix seconds; now as the bundle knows it."),
    ] = None,
    json: Json = False,
) -> None:
    """Load, recommend, write. A short list is not an error, nor is a user whom nobody knows."""
    check_suffix(out, "--out")
    if out.is_dir():
        raise ConfigError(f"--out {out}: is a folder; name a file")
    when = None if at is None else moment(int(at) if at.removeprefix("-").isdecimal() else at)
    ids = None if users == "all" else read_ids(Path(users))
    engine = Engine.load(bundle)
    started = time.perf_counter()
    with Watch() as progress:
        found = engine.recommend_all(ids, k, when, progress)
    seconds = round(time.perf_counter() - started, 2)
    write_table(found, out)
    answered = found["user_id"].n_unique() if len(found) else 0
    if json:
        as_json({"out": out, "users": answered, "rows": len(found), "seconds": seconds})
    else:
        say(f"{out}: {len(found):,} rows for {answered:,} users in {seconds:.1f} s")


def read_ids(path: Path) -> list[str]:
    """User ids of a text file, one per line, each once; empty lines are skipped. Integers are recognised by the catalogue."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ConfigError(f"--users {path}: not a text file in UTF-8") from None
    ids = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not ids:
        raise ConfigError(f"--users {path}: the file names no user")
    return ids
