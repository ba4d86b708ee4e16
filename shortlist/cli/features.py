"""Show what `auto` chose and why, and every column that the ranker sees: what it costs, brings and does over time; or explain one value
down to the events that made it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from shortlist.cli.options import Data, Json, Recipe, Seed, Sets, overrides
from shortlist.cli.output import as_json, note, say, table
from shortlist.cli.progress import Watch
from shortlist.cli.reading import data_for, recipe_at, recipe_file
from shortlist.core.errors import ConfigError
from shortlist.core.units import moment
from shortlist.experiment.explain import SHOWN, Why, explain
from shortlist.experiment.features import BANDS, Features, features
from shortlist.experiment.freeze import freeze as write_frozen


def run(
    recipe: Recipe,
    data: Data,
    freeze: Annotated[
        Path | None,
        typer.Option(
            "--freeze",
            help="Also write a copy of the recipe in which `auto` is replaced by what it chose: a .toml file.",
        ),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option("--explain", help="Explain one value of this column instead; needs --user, --item and --time."),
    ] = None,
    user: Annotated[str | None, typer.Option("--user", help="Of whose request, with --explain.")] = None,
    item: Annotated[str | None, typer.Option("--item", help="Of which candidate, with --explain.")] = None,
    at: Annotated[
        str | None, typer.Option("--time", help="When it is asked, with --explain: a date, or unix seconds.")
    ] = None,
    context: Annotated[
        list[str] | None,
        typer.Option(
            "--context", metavar="NAME=VALUE", help="Context of the request, with --explain; may be given again."
        ),
    ] = None,
    sets: Sets = None,
    seed: Seed = None,
    json: Json = False,
) -> None:
    """Fit as a backtest would, and tell."""
    given = overrides(sets, seed)
    chosen = recipe_at(recipe, given)
    _together(column, {"--user": user, "--item": item, "--time": at}, context, freeze)
    if freeze is not None and freeze.suffix != ".toml":
        raise ConfigError(f"--freeze {freeze}: a recipe is a .toml file")
    if column is not None:
        assert at is not None
        when = moment(int(at) if at.removeprefix("-").isdecimal() else at)
        why = explain(chosen, data_for(chosen, data), column, user, item, when, _pairs(context or []))
        as_json(why.json()) if json else tell(why)
        return
    dataset = data_for(chosen, data)
    with Watch() as progress:
        found = features(chosen, dataset, progress)
    if freeze is not None:
        write_frozen(recipe_file(recipe), freeze, found.recipe, found.chosen, given)
    if json:
        as_json(found.json())
    else:
        show(found)
    if freeze is not None and given:
        note("what --set and --seed changed is not in the frozen recipe, except in what was chosen: give it again")


def _together(
    column: str | None, needed: dict[str, str | None], context: list[str] | None, freeze: Path | None
) -> None:
    """Options that belong together."""
    missing = [name for name, value in needed.items() if value is None]
    if column is not None and missing:
        raise ConfigError(f"--explain {column}: {', '.join(missing)} must be given as well")
    if column is None and (len(missing) < len(needed) or context):
        raise ConfigError("--user, --item, --time and --context belong to --explain COLUMN")
    if column is not None and freeze is not None:
        raise ConfigError("--explain and --freeze are two jobs: give one of them")


def _pairs(context: list[str]) -> dict[str, str]:
    for text in context:
        if "=" not in text:
            raise ConfigError(f"--context {text!r}: write name=value")
    return {text.partition("=")[0].strip(): text.partition("=")[2].strip() for text in context}


def show(found: Features) -> None:
    """The report, for a person: choices first."""
    for one in found.chosen:
        options = ", ".join(f"{key} = {value}" for key, value in one.entry.items() if key not in ("name", "type"))
        say(f"{one.asked} chose {one.entry['name']} ({one.entry['type']}): {one.why}")
        if options:
            say(f"    {options}")
    if found.chosen:
        say()
    table([_column(row) for row in found.columns], "Columns, the largest gain first")
    say(f"drift: population stability index from the oldest to the newest label window; {BANDS}")
    say()
    table(
        [{name: _short(value) for name, value in row.items()} for row in found.families],
        "Families: microseconds per request",
    )
    totals = found.totals
    say(
        f"{len(found.columns)} columns; {totals['us']:.0f} us per request of {totals['candidates']:.0f} candidates "
        f"(median of {totals['requests_timed']} requests, one at a time)"
    )
    say()
    table([{name: _short(value) for name, value in row.items()} for row in found.memory], "Memory: bytes per slot")
    say(
        f"{totals['kb_per_user']:.2f} KB per user ({totals['users']:,}), {totals['kb_per_item']:.2f} KB per item ({totals['items']:,}), "
        f"{totals['kb_of_neither']:.0f} KB for all else; of the users', {totals['history_kb']:.0f} KB are histories"
    )
    for line in found.notes:
        say(f"- {line}")


def _column(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the table of columns: what lies where, in one cell."""
    if row["type"] == "category":
        values = f"{row['distinct']} values"
    elif row["min"] is None:
        values = "none"
    else:
        values = " / ".join(f"{row[name]:.4g}" for name in ("min", "median", "max"))
    gain, drift, cost = row["gain"], row["drift"], row["us"]
    return {
        "column": row["column"], "family": row["family"], "type": row["type"], "missing": f"{row['missing']:.1%}",
        "min / median / max": values, "us": "" if cost is None else f"{cost:>7.1f}",
        "gain": "" if gain is None else f"{gain:>6.2f}", "drift": "" if drift is None else f"{drift:>7.3f}",
    }  # fmt: skip


def _short(value: Any) -> Any:
    return f"{value:>9,.1f}" if isinstance(value, float) else value


def tell(why: Why) -> None:
    """One value, for a person."""
    say(f"{why.column} = {why.value} ({why.type}, of {why.family}) for user {why.user}, item {why.item} at {why.time}")
    say(f"{why.known:,} events are known by then")
    if why.reads:
        key = ", ".join(f"{name} = {value}" for name, value in why.key.items()) or "everything together"
        say(f"read from {why.reads}")
        say(f"key: {key}" + ("" if why.reading is None else f"; the reading is {why.reading}"))
    if why.row:
        say("the table's row: " + ", ".join(f"{name} = {value}" for name, value in why.row.items()))
    if why.source:
        shown = f", the newest {SHOWN} of them" if why.total > SHOWN else ""
        added = "" if why.added is None else f"; together they add {why.added:.6g}"
        say(f"{why.total:,} events {why.source}{shown}{added}:")
        table([{name: "" if value is None else value for name, value in entry.items()} for entry in why.events])
    elif not why.row:
        say("no event has a part in it")
