"""Serve a bundle over HTTP: answers in milliseconds that know the last click, and events that are never lost."""

from pathlib import Path
from typing import Annotated

import typer

from shortlist.cli.options import Bundle, Json
from shortlist.cli.output import as_json, note
from shortlist.core.errors import ConfigError
from shortlist.core.extras import need
from shortlist.pipeline.bundle import check, manifest
from shortlist.serve.experiments import Experiments
from shortlist.serve.run import Runner
from shortlist.serve.security import Keys, may_bind
from shortlist.serve.settings import Settings


def run(
    bundle: Bundle,
    host: Annotated[
        str, typer.Option("--host", help="The address to listen on; the default is this machine only.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="0 = any free one.", min=0, max=65_535)] = 8000,
    workers: Annotated[
        int, typer.Option("--workers", help="Processes that share the port and the log.", min=1, max=256)
    ] = 1,
    log: Annotated[
        str,
        typer.Option("--log", help="Where events and answers are kept: sqlite:PATH or redis://HOST:PORT/DB?name=NAME."),
    ] = "sqlite:shortlist.log",
    surface: Annotated[
        list[str] | None,
        typer.Option("--surface", metavar="NAME=BUNDLE", help="Another bundle beside the first; may be given again."),
    ] = None,
    clock: Annotated[
        str,
        typer.Option(
            "--clock", help="wall; log: time goes on from where the data end; auto: log where they end over a week ago."
        ),
    ] = "auto",
    after: Annotated[
        int,
        typer.Option("--after", help="Entries of the log up to this position are in the bundle's data already.", min=0),
    ] = 0,
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Where snapshots and traces are kept; beside the log by default.")
    ] = None,
    waiting: Annotated[
        int, typer.Option("--waiting", help="Requests that may wait in a worker; more get 429.", min=1)
    ] = 64,
    patience: Annotated[float, typer.Option("--patience", help="Seconds that a request may wait.", min=0.01)] = 1.0,
    body: Annotated[int, typer.Option("--body", help="Bytes that a request's body may have.", min=1000)] = 2_000_000,
    keys: Annotated[
        Path | None,
        typer.Option("--keys", help="The file of API keys (`shortlist keys`); without one nobody is asked."),
    ] = None,
    insecure: Annotated[
        bool,
        typer.Option("--insecure", help="Listen where others can reach it although there are no keys: behind a proxy."),
    ] = False,
    experiments: Annotated[
        Path | None, typer.Option("--experiments", help="A file of experiments; read when a worker starts.")
    ] = None,
    admin: Annotated[
        int,
        typer.Option(
            "--admin", help="Port of the admin interface (swap, roll back); needs --keys. 0 = none.", min=0, max=65_535
        ),
    ] = 0,
    admin_host: Annotated[str, typer.Option("--admin-host", help="The address it listens on.")] = "127.0.0.1",
    snapshot: Annotated[
        float, typer.Option("--snapshot", help="Seconds between snapshots, so that a restart is quick.", min=0.1)
    ] = 30.0,
    json: Json = False,
) -> None:
    """Runs until it is stopped (SIGTERM or Ctrl-C); what was acknowledged is there at the next start."""
    for package in ("fastapi", "uvicorn", "msgspec"):
        need(package, "serve", "shortlist serve")
    may_bind(host, keys, insecure)
    if keys is not None:
        Keys(keys).listed()  # a damaged file is said now
    if admin and keys is None:
        raise ConfigError(f"--admin {admin}: whoever reaches it may change what is served, so it needs --keys")
    surfaces = {"default": str(bundle), **named(surface or [])}
    for path in surfaces.values():
        check(Path(path), manifest(Path(path)))  # once, here: the workers need not hash the files again
    settings = Settings(
        surfaces, log, host, port, workers, "" if folder is None else str(folder), clock, waiting, patience, body,
        snapshot=snapshot, keys="" if keys is None else str(keys.absolute()),
        verify=False, after=dict.fromkeys(surfaces, after),
    )  # fmt: skip
    if experiments is not None:
        Experiments.read(experiments, surfaces)  # a mistake is said now
        settings.experiments = str(experiments.absolute())
    settings.admin, settings.admin_host = admin, admin_host
    runner = Runner(settings, note)
    if json:
        as_json({"host": host, "port": runner.port, "workers": workers, "log": log})
    raise typer.Exit(runner.run())


def named(surfaces: list[str]) -> dict[str, str]:
    """NAME=BUNDLE, by name."""
    made = {}
    for text in surfaces:
        name, equals, path = text.partition("=")
        if not equals or not name or not path or name == "default" or name in made:
            raise ConfigError(f"--surface {text}: write NAME=BUNDLE, with a name of its own (and not 'default')")
        made[name] = path
    return made
