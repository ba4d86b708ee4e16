"""What a person sees after a backtest: the funnel, the headline figure of every system with its interval, where the report is."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shortlist.cli.output import say, table

LOSSES = ("hit", "missed", "filtered", "misranked", "ruled_out")


def show(out: Path, metrics: Mapping[str, Any], elapsed: float) -> None:
    """Print the summary of a run. metrics: what `metrics.json` holds."""
    funnel = json.loads((out / "funnel.json").read_text(encoding="utf-8"))
    table(systems(metrics), "Systems")
    say()
    table(sources(funnel), "Sources: what each brings into the pool")
    say()
    table(losses(funnel), "Funnel: where the targets went, as shares of all")
    say()
    say(f"{metrics['requests']:,} requests in {elapsed:.1f} s; report: {out / 'report.html'}")


def headline(metrics: Mapping[str, Any]) -> str:
    """The figure to lead with: NDCG at the first cut-off, or the first figure there is."""
    names: list[str] = list(metrics["systems"]["pipeline"])
    return next((name for name in names if name.startswith("ndcg@")), names[0])


def systems(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row per system, the pipeline first: the headline figure and its interval."""
    name = headline(metrics)
    order = sorted(metrics["systems"], key=lambda system: system != "pipeline")
    rows = []
    for system in order:
        figure = metrics["systems"][system].get(name)
        if figure is not None:
            interval = f"[{figure['low']:.4f}, {figure['high']:.4f}]" if figure.get("low") is not None else ""
            rows.append({"system": system, name: float(figure["value"]), "95% interval": interval})
    return rows


def sources(funnel: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row per source of the funnel."""
    return [{"source": name, **entry} for name, entry in funnel.get("sources", {}).items()]


def losses(funnel: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row: the share of targets that were hit, and lost at each stage."""
    stages = funnel.get("stages", funnel)
    row = {name: float(stages[name]) for name in LOSSES if name in stages}
    return [row] if row else []
