"""What came of the experiments of a service: each variant's users and mean, the difference to the control, whether the split is sound."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from shortlist.cli.options import Json
from shortlist.cli.output import as_json, say, table
from shortlist.core.errors import ConfigError
from shortlist.core.units import moment, seconds
from shortlist.serve import entry
from shortlist.serve.eventlog.codec import decode
from shortlist.serve.eventlog.open import open_log
from shortlist.serve.experiments import ALARM, Experiments, Report, report

PIECE = 5000  # entries of the log that are read at a time


def run(
    file: Annotated[Path, typer.Argument(metavar="FILE.toml", help="The experiments, as `serve` is given them.")],
    log: Annotated[str, typer.Option("--log", help="The log of the service: sqlite:PATH or redis://...")],
    event: Annotated[list[str], typer.Option("--event", help="An event kind that is a success; may be given again.")],
    window: Annotated[str, typer.Option("--window", help="How long after the first exposure successes count.")] = "1d",
    now: Annotated[str, typer.Option("--now", help="The moment of the report; the wall's clock when not given.")] = "",
    json: Json = False,
) -> None:
    """Reads the log and nothing else. Intervals hold however often the command is run."""
    seconds(window)
    at = moment(now) if now else int(time.time())
    experiments = Experiments.read(file)
    served, events = read(log)
    made = [report(each, served, events, event, window=window, now=at) for each in experiments.experiments.values()]
    if json:
        as_json([_plain(each) for each in made])
        return
    for each in made:
        show(each)


def read(address: str) -> tuple[list[entry.Served], list[entry.Events]]:
    """The answers that belong to an experiment, and all events. ConfigError for a log that is not there."""
    if address.startswith("sqlite:") and not Path(address.partition(":")[2]).exists():
        raise ConfigError(f"--log {address}: no such log")
    log = open_log(address)
    served: list[entry.Served] = []
    events: list[entry.Events] = []
    position = 0
    while True:
        stored = log.read(position, PIECE, (entry.SERVED, entry.EVENTS))
        for each in stored:
            content = decode(each)
            if isinstance(content, entry.Served) and content.variant:
                served.append(content)
            elif isinstance(content, entry.Events) and content.request_id:
                events.append(content)
        if len(stored) < PIECE:
            break
        position = stored[-1].position
    log.close()
    return served, events


def show(made: Report) -> None:
    """One experiment, for a person."""
    rows: list[dict[str, Any]] = []
    for name, arm in made.arms.items():
        found = made.differences.get(name)
        draft = made.drafts.get(name)
        rows.append({
            "variant": f"{made.experiment}:{name}", "users": arm.users, "complete": arm.complete, "mean": arm.mean,
            "difference": "" if found is None else f"{found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}]",
            "draft": "" if draft is None else f"{draft.value:+.4f} [{draft.low:+.4f}, {draft.high:+.4f}]",
        })  # fmt: skip
    table(rows)
    if not made.sound:
        say(
            f"{made.experiment}: the split is not what it should be (p = {made.mismatch:.2g} < {ALARM}): do not believe the rest"
        )


def _plain(made: Report) -> dict[str, Any]:
    return {
        "experiment": made.experiment, "mismatch": made.mismatch, "sound": made.sound,
        "variants": {name: vars(arm) for name, arm in made.arms.items()},
        "differences": {name: found._asdict() for name, found in made.differences.items()},
        "drafts": {name: found._asdict() for name, found in made.drafts.items()},
    }  # fmt: skip
