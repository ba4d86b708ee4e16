"""What a person sees after a backtest: every system with its interval, the funnel, the verdict, where the report is."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shortlist.cli.output import say, table
from shortlist.experiment.report import GIVEN
from shortlist.experiment.verdict import judge

LOSSES = ("hit", "missed", "filtered", "misranked", "ruled_out")


def show(out: Path, metrics: Mapping[str, Any], elapsed: float) -> None:
    """Print the summary of a run. metrics: what `metrics.json` holds."""
    funnel = json.loads((out / "funnel.json").read_text(encoding="utf-8"))
    details = json.loads((out / "details.json").read_text(encoding="utf-8"))
    verdict = judge(metrics, funnel)
    table(systems(metrics, verdict.metric), "Systems")
    say()
    if funnel.get("candidates") != "impressions":
        table(sources(funnel), "Sources: what each brings into the pool")
        say()
        table(losses(funnel), "Funnel: where the targets went, as shares of all")
        say()
    say(verdict.headline)
    for reason in (*verdict.reasons, *details.get("notes", ())):
        say(f"- {reason}")
    say()
    say(f"{metrics['requests']:,} requests in {elapsed:.1f} s; report: {out / 'report.html'}")


def systems(metrics: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """A row per system, the pipeline first: the figure called `name`, and its interval; of given impressions all their figures."""
    order = sorted(metrics["systems"], key=lambda system: system != "pipeline")
    rows = []
    for system in order:
        figure = metrics["systems"][system].get(name)
        if figure is not None and figure["value"] is not None:
            interval = f"[{figure['low']:.4f}, {figure['high']:.4f}]" if figure.get("low") is not None else ""
            row = {"system": system, name: float(figure["value"]), "95% interval": interval}
            for other in GIVEN if name in GIVEN else ():
                if other != name:
                    value = metrics["systems"][system].get(other, {}).get("value")
                    row[other] = "" if value is None else float(value)
            rows.append(row)
    return rows


def sources(funnel: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row per source of the funnel."""
    return [{"source": name, **entry} for name, entry in funnel.get("sources", {}).items()]


def losses(funnel: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row: the share of targets that were hit, and lost at each stage."""
    stages = funnel.get("stages", funnel)
    row = {name: float(stages[name]) for name in LOSSES if name in stages}
    return [row] if row else []
