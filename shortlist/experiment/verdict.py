"""The verdict of a run in plain words: does the pipeline beat its best source, and where are the targets lost?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shortlist.experiment import runfiles

LABELS = {
    "ndcg": "NDCG",
    "hitrate": "Hit rate",
    "mrr": "MRR",
    "map": "MAP",
    "recall": "Recall",
    "precision": "Precision",
    "auc": "AUC",
    "gauc": "GAUC",
    "logloss": "Log loss",
    "calibration": "Calibration error",
}
PIPELINE = "pipeline"
SOURCE = "source:"
BASELINE = "baseline:"
LOWER_IS_BETTER = ("logloss", "gini", "ece", "calibration")


@dataclass(frozen=True)
class Verdict:
    """kind: good (ahead), even (cannot be told apart), bad (behind), none (nothing to compare with); headline: one sentence;
    reasons: sentences that say more; best: the best source (or baseline), "" when there is none; metric: what was judged by."""

    kind: str
    headline: str
    reasons: tuple[str, ...]
    best: str
    metric: str


def label(metric: str) -> str:
    """`ndcg@10` as people write it: `NDCG@10`."""
    name, at, k = metric.partition("@")
    return LABELS.get(name, name.replace("_", " ").capitalize()) + at + k


def lower_is_better(metric: str) -> bool:
    """Is a small figure the good one?"""
    return metric.partition("@")[0] in LOWER_IS_BETTER


def short(system: str) -> str:
    """A system as people call it: `source:ease` -> `ease`."""
    return system.removeprefix(SOURCE)


def signed(value: float) -> str:
    """A difference with four digits and a real minus sign."""
    return f"{value:+.4f}".replace("-", "\N{MINUS SIGN}")


def span(figure: Mapping[str, Any], level: str = "95% ") -> str:
    """` [95% +0.0031, +0.0074]` of a difference, or nothing when the interval is not known."""
    if figure.get("low") is None or figure.get("high") is None:
        return ""
    return f" [{level}{signed(figure['low'])}, {signed(figure['high'])}]"


def judge(metrics: Mapping[str, Any], funnel: Mapping[str, Any]) -> Verdict:
    """The verdict from the contents of metrics.json and funnel.json (which may be empty)."""
    systems = {name: runfiles.figures(system) for name, system in metrics.get("systems", {}).items()}
    metric = runfiles.main_metric(metrics.get("systems", {}))
    values = {name: found[metric]["value"] for name, found in systems.items() if metric in found}
    values = {name: value for name, value in values.items() if value is not None}
    sign = -1.0 if lower_is_better(metric) else 1.0
    best = max(
        (name for name in values if name.startswith((SOURCE, BASELINE))),
        key=lambda name: (sign * values[name], name),
        default="",
    )
    reasons = tuple(_losses(funnel))
    if PIPELINE not in values or not best:
        shown = ", ".join(f"{short(name)} {value:.4f}" for name, value in values.items())
        return Verdict(
            "none", f"{label(metric)}: {shown}. There is nothing to compare with.", reasons, short(best), metric
        )
    gap = metrics.get("paired", {}).get(f"{PIPELINE} - {best}", {}).get(metric)
    gap = gap or {"value": values[PIPELINE] - values[best]}
    kind = _kind(gap, sign)
    amount = f"{signed(gap['value'])} {label(metric)}{span(gap)}"
    rival = f"its best source, {short(best)}"
    if best.startswith(BASELINE):
        rival = f"the best baseline, {best.removeprefix(BASELINE)}"
    headline = {
        "good": f"The pipeline beats {rival}, by {amount}.",
        "even": f"The pipeline does NOT clearly beat {rival}: {amount} cannot be told from zero.",
        "bad": f"The pipeline does NOT beat {rival}: {amount}.",
    }[kind]
    return Verdict(kind, headline, (*_guard(funnel, kind), *reasons), short(best), metric)


def _kind(gap: Mapping[str, Any], sign: float) -> str:
    """good, even or bad; without an interval nothing is clear, except that behind is behind."""
    ends = (gap.get("low"), gap.get("high"))
    if ends[0] is None or ends[1] is None:
        return "even" if sign * gap["value"] > 0 else "bad"
    low, high = sorted(sign * float(end) for end in ends if end is not None)
    return "good" if low > 0 else "bad" if high < 0 else "even"


def _guard(funnel: Mapping[str, Any], kind: str) -> list[str]:
    """What the guard saw on the validation window, where it explains the test."""
    guard = funnel.get("guard") or {}
    verdict = str(guard.get("verdict", ""))
    seen = guard.get("validation") or {}
    if verdict.startswith((SOURCE, BASELINE)):
        figures = f" ({seen[verdict]:.4f} against {seen[PIPELINE]:.4f})" if {verdict, PIPELINE} <= seen.keys() else ""
        done = (
            "so the answers here are ordered by that source"
            if guard.get("mode") == "fallback"
            else "but it only warns, so the answers here are the ranker's"
        )
        return [
            f"The guard found {short(verdict)} at least as good as the ranker on the validation window{figures}, {done}."
        ]
    if verdict == "ranker" and kind != "good":
        return ["On the validation window the ranker was ahead: the test window is unlike it, or the lead was noise."]
    return []


def _losses(funnel: Mapping[str, Any]) -> list[str]:
    """Where most targets are lost, and so what to work on."""
    stages = {} if funnel.get("candidates") == "impressions" else funnel.get("stages") or {}
    advice = {
        "missed": "no source found them: more or better sources, or a larger pool, have the most to give",
        "filtered": "a filter bans them: check that the filters mean what they say",
        "misranked": "they are in the pool, but ranked too low: the ranker and its features have the most to give",
        "ruled_out": "the rules took them out of the list: check the caps and quotas",
    }
    lost = {name: share for name, share in stages.items() if name in advice and share > 0}
    if not lost:
        return []
    worst = max(lost, key=lambda name: lost[name])
    return [
        f"Of all targets, {stages.get('hit', 0.0):.1%} are hits; the largest loss is {lost[worst]:.1%}: {advice[worst]}."
    ]
