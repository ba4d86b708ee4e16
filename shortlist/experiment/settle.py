"""Settle: what a recipe leaves open (`auto` features) is chosen by the schema and by the log before the first cut-off, and written
out, so that everything after it sees plain parts and a run's recipe.json says what ran."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from shortlist.core.component import build
from shortlist.core.contracts import FitContext
from shortlist.core.errors import ConfigError
from shortlist.data.dataset import Dataset
from shortlist.data.timeline import Split
from shortlist.feature.attributes import expanded
from shortlist.pipeline.config import Recipe
from shortlist.pipeline.limits import of


@dataclass(frozen=True)
class Settled:
    """One part that was chosen: the entry of the recipe that asked, the chosen entry (with its name), and why."""

    asked: str
    entry: dict[str, Any]
    why: str


def settle(recipe: Recipe, data: Dataset, first: Split, ctx: FitContext) -> tuple[Recipe, list[Settled]]:
    """The recipe with every open feature replaced by what it chooses from the log before the first cut-off; the same recipe when
    nothing is open."""
    if not any(hasattr(part, "choose") for part in recipe.features.values()):
        return recipe, []
    known = recipe.timeline.known(data, first)
    features: dict[str, Any] = {}
    limits = dict(recipe.limits)
    chosen: list[Settled] = []
    by_hand = [part for part in recipe.features.values() if not hasattr(part, "choose")]
    for name, part in recipe.features.items():
        if not hasattr(part, "choose"):
            _added(features, name, part, name)
            continue
        place = f"feature.{name}"
        for entry, why in part.choose(known, replace(ctx, now=first.cut, place=place)):
            spec = dict(entry)
            own = str(spec.pop("name", spec["type"]))
            if not _left_over(spec, by_hand, ctx, f"{place}: {own}"):
                continue
            _added(features, own, build("feature", spec, f"{place}: {own}"), name)
            limits[f"feature.{own}"] = of(recipe.limits, place)
            chosen.append(Settled(name, {"name": own, **spec}, why))
    return replace(recipe, features=features, limits=limits), chosen


def _left_over(spec: dict[str, Any], by_hand: list[Any], ctx: FitContext, place: str) -> bool:
    """Take out of a chosen entry the keys whose columns are in the recipe already, written by hand. False where none is left."""
    if "by" not in spec:
        return True
    part = build("feature", spec, place)
    taken = {
        key
        for other in by_hand
        if type(other) is type(part) and _counted(other, ctx) == _counted(part, ctx) and _lives(other) & _lives(part)
        for key in expanded(other.by, ctx.catalogue)
    }
    spec["by"] = [key for key in spec["by"] if key not in taken]
    return bool(spec["by"])


def _counted(part: Any, ctx: FitContext) -> tuple[Any, ...]:
    """What a family's columns are named by, besides key and horizon."""
    over = tuple(getattr(part, "over", ())) or (ctx.impression,)
    return (tuple(part.event), over, *(getattr(part, name, "") for name in ("hold", "lag", "weigh")))


def _lives(part: Any) -> set[str]:
    """The horizons of a family's columns; one for all families that have none."""
    if not hasattr(part, "half_life"):
        return {""}
    windows = [f"{length}w" for length in getattr(part, "window", ())]
    return {*part.half_life, *windows, *(("total",) if getattr(part, "total", False) else ())}


def _added(features: dict[str, Any], name: str, part: Any, asked: str) -> None:
    if name in features:
        raise ConfigError(
            f"feature.{asked}: a second feature is called {name!r}; give the other one a name of its own (name = ...)"
        )
    features[name] = part


def toml(settled: list[Settled]) -> str:
    """What was chosen, as `[[feature]]` entries with the reasons as comments."""
    blocks = []
    for one in settled:
        lines = [f"# {one.why}", "[[feature]]", *(f"{key} = {_value(value)}" for key, value in one.entry.items())]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def _value(value: Any) -> str:
    """A TOML value. Only what parts have as options."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(entry) for entry in value)}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(key)} = {_value(entry)}" for key, entry in value.items()) + "}"
    return _text(str(value))


def _text(text: str) -> str:
    """A basic TOML string: quotes, backslashes and control characters escaped."""
    escaped = "".join(
        f"\\u{ord(c):04x}" if ord(c) < 32 or ord(c) == 127 else f"\\{c}" if c in '"\\' else c for c in text
    )
    return f'"{escaped}"'
