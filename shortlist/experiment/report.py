"""The report of a run: one self-contained `report.html`, and the same figures as tables for the terminal.

Built only from the run's files: `metrics.json`, `funnel.json`, `recipe.json` (the resolved recipe) and `details.json`. What a
file does not hold is left out. Equal files give equal bytes.

`details.json`, every entry optional: `command` (text) · `notes` [sentence] · `importance` [{"feature", "gain"}] · `learning`
{ranker: {"iteration": [], "train": [], "valid": []}} · `reliability` {system: {"count": [], "predicted": [], "observed": []}} · `windows` [{"from", "until", "requests", "systems": {name: {metric: figure}}}] ·
`examples` [{"user", "time", "history": [title], "recommended": [{"title", "source": "name|name", "hit": bool}], "targets": [title]}].
"""

import json
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from shortlist.core import units
from shortlist.experiment import page, plot, runfiles, verdict
from shortlist.experiment.page import Cell
from shortlist.experiment.verdict import PIPELINE, Verdict

STEPS = {
    "filtered": "Allowed by the filters",
    "missed": "Found by a source",
    "misranked": "Ranked high enough",
    "ruled_out": "Shown: a hit",
}
MEANING = {
    "filtered": "a filter bans the target (already seen, not available ...), whether or not a source found it",
    "missed": "no source put the target into the pool: no ranker can save it",
    "misranked": "in the pool, but the ranker left it below the cut",
    "ruled_out": "ranked high enough, then taken out by a rule (caps, quotas, diversity)",
    "hit": "in the list that is shown",
}
SOURCE_HEADS = ("source", "recall of pool", "marginal recall", "unique hits", "ms / request")
GIVEN = ("gauc", "auc", "logloss", "calibration")  # what is told of given impressions, all of it
SHOWN_FIRST = ("ndcg", "hitrate", "recall", "precision", "mrr", "map", "gauc", "auc", "logloss", "calibration")


def write(run: Path) -> Path:
    """Write `report.html` into a run folder and return its path. DataError when the folder is not a run."""
    metrics = runfiles.read(run, "metrics.json")
    funnel, recipe, details = (runfiles.read(run, name) for name in ("funnel.json", "recipe.json", "details.json"))
    path = run / "report.html"
    path.write_text(render(metrics, funnel, recipe, details), encoding="utf-8", newline="\n")
    return path


def render(
    metrics: Mapping[str, Any], funnel: Mapping[str, Any], recipe: Mapping[str, Any], details: Mapping[str, Any]
) -> str:
    """The page, from the contents of the four files."""
    found = verdict.judge(metrics, funnel)
    learning, windows = _learning_card(details), _windows_card(details, found)
    blocks = [
        page.beside(
            [_ranking_card(metrics, found), _paired_card(metrics, found)],
            [_reliability_card(details) if _given(funnel) else _funnel_card(funnel)],
        ),
        _systems_card(metrics, found),
        page.beside(
            [_sources_card(funnel), _slices_card(metrics, found), learning if windows else ""],
            [windows, _importance_card(details), "" if windows else learning],
        ),
        _timeline_card(metrics),
        _examples_card(details),
        page.beside([_cost_card(metrics, funnel)], [_provenance_card(metrics, recipe, details)]),
    ]
    body = (
        _header(metrics, recipe)
        + _verdict_box(found, details)
        + _tiles(metrics, funnel, found)
        + "\n".join(block for block in blocks if block)
    )
    return page.document(f"{_title(metrics, recipe)} · Shortlist", body)


def _given(funnel: Mapping[str, Any]) -> bool:
    """Were the candidates what was shown? Then no target can be lost on the way."""
    return bool(funnel.get("candidates") == "impressions")


def _title(metrics: Mapping[str, Any], recipe: Mapping[str, Any]) -> str:
    names = (metrics.get("title"), recipe.get("title"), "Backtest")
    return next(str(name) for name in names if name)


def _header(metrics: Mapping[str, Any], recipe: Mapping[str, Any]) -> str:
    facts = [str(metrics["name"])] if metrics.get("name") else []
    facts += [f"{metrics['requests']:,} requests"] if "requests" in metrics else []
    tests = metrics.get("timeline", {}).get("test", [])
    if tests:
        facts.append(f"tested {_moment(tests[0][0])} – {_moment(tests[-1][1])} UTC")
    if len(tests) > 1:
        facts.append(f"{len(tests)} windows")
    return f"<header><h1>{page.esc(_title(metrics, recipe))}</h1><p>{page.esc(' · '.join(facts))}</p></header>\n"


def _verdict_box(found: Verdict, details: Mapping[str, Any]) -> str:
    word = {"good": "ahead", "even": "no clear difference", "bad": "behind", "none": "measured"}[found.kind]
    said = [*found.reasons, *(str(note) for note in details.get("notes", []))]
    listed = "".join(f"<li>{page.esc(sentence)}</li>" for sentence in dict.fromkeys(said))
    return (
        f'<section class="verdict {found.kind}"><span class="word">{word}</span>'
        f'<p class="headline">{page.esc(found.headline)}</p>'
        + (f"<ul>{listed}</ul>" if listed else "")
        + "</section>\n"
    )


def _tiles(metrics: Mapping[str, Any], funnel: Mapping[str, Any], found: Verdict) -> str:
    """The key figures: quality of the pipeline, the ceiling of the pool, and the cost of a request."""
    pipeline = runfiles.figures(metrics.get("systems", {}).get(PIPELINE, {}))
    order = [found.metric, *(name for name in _metric_names([pipeline], found.metric) if name != found.metric)]
    tiles = [
        page.tile(verdict.label(name), _number(pipeline[name]["value"]), _range(pipeline[name]))
        for name in [name for name in order if name in pipeline and _place(name) < len(SHOWN_FIRST)][:3]
    ]
    if funnel.get("recall@pool") is not None and not _given(funnel):
        size = f"{funnel['pool_size']:,.0f} candidates" if funnel.get("pool_size") is not None else ""
        tiles.append(page.tile("Recall of the pool", f"{funnel['recall@pool']:.1%}", size))
    for name, value in funnel.items():
        if name.startswith("oracle_") and value is not None and not _given(funnel):
            tiles.append(page.tile(f"Ceiling: {verdict.label(name[7:])}", _number(value), "if ordered perfectly"))
    for name in pipeline:
        if name.startswith("coverage"):
            tiles.append(page.tile(verdict.label(name), f"{pipeline[name]['value']:.1%}", "of the catalogue"))
            break
    return f'<dl class="tiles">{"".join(tiles)}</dl>\n' if tiles else ""


def _ranking_card(metrics: Mapping[str, Any], found: Verdict) -> str:
    rows = []
    for name, system in _sorted(metrics, found.metric):
        figure = runfiles.figures(system).get(found.metric, {})
        if figure.get("value") is not None:
            ends = figure.get("low"), figure.get("high")
            rows.append(plot.Bar(verdict.short(name), figure["value"], *ends, strong=name == PIPELINE))
    title = f"{verdict.label(found.metric)} of every system"
    start = 0.5 if found.metric in ("auc", "gauc") and all(row.value >= 0.5 for row in rows) else 0.0
    if not rows:
        return ""
    return page.card(
        title, plot.bars("systems", rows, about=title, start=start), "Lines are 95% intervals, bootstrapped over users."
    )


def _funnel_card(funnel: Mapping[str, Any]) -> str:
    stages = funnel.get("stages") or {}
    if not stages:
        return ""
    picture = plot.funnel("funnel", plot.steps_of(stages, STEPS), about="Where the targets are lost")
    shares = [
        ("", [Cell(name.replace("_", " ")), Cell(f"{stages.get(name, 0.0):.1%}"), Cell(MEANING[name], css="text")])
        for name in MEANING
    ]
    return page.card(
        "Where the targets are lost",
        picture + page.table(["stage", "share", "what it means"], shares),
        "Shares of all targets; they sum to 1.",
    )


def _reliability_card(details: Mapping[str, Any]) -> str:
    """How true the probabilities are. The pipeline and the first system beside it; the constant rate is one point of no interest."""
    found = {name: bins for name, bins in (details.get("reliability") or {}).items() if len(bins.get("count", [])) > 1}
    series: dict[str, list[plot.Point]] = {
        verdict.short(name): [(x, y, None, None) for x, y in zip(bins["predicted"], bins["observed"], strict=True)]
        for name, bins in list(found.items())[:3]
    }
    if not series:
        return ""
    key = page.legend([(plot.LINES[i], name) for i, name in enumerate(series)])
    names = list(found)[:3]
    heads = ["predicted", *(f"{verdict.short(name)}: {what}" for name in names for what in ("taken", "impressions"))]
    widths = [f"{i / 10:.1f} – {(i + 1) / 10:.1f}" for i in range(10)]
    rows = []
    for i, title in enumerate(widths):
        cells = [Cell(title)]
        for name in names:
            bins = found[name]
            at = [j for j, p in enumerate(bins["predicted"]) if min(int(p * 10 + 1e-9), 9) == i]
            cells += [
                Cell(f"{bins['observed'][at[0]]:.1%}" if at else "–"), Cell(f"{bins['count'][at[0]]:,}" if at else "–")
            ]  # fmt: skip
        rows.append(("", cells))
    return page.card(
        "Do the probabilities come true?",
        plot.reliability("reliability", series, about="Share that was taken against the predicted probability")
        + key
        + page.table(heads, rows),
        "Share of the impressions that were acted on, by predicted probability. On the diagonal they are true; below it, too high.",
    )


def _systems_card(metrics: Mapping[str, Any], found: Verdict) -> str:
    systems = _sorted(metrics, found.metric)
    names = _metric_names((system for _, system in systems), found.metric)
    if not names:
        return ""
    best = {}
    for name in names:
        known = [
            f[name]["value"]
            for _, system in systems
            if name in (f := runfiles.figures(system)) and f[name]["value"] is not None
        ]
        if known and len(systems) > 1 and _place(name) < len(SHOWN_FIRST):
            best[name] = min(known) if verdict.lower_is_better(name) else max(known)
    rows = []
    for title, system in systems:
        figures = runfiles.figures(system)
        cells = [Cell(verdict.short(title))]
        for name in names:
            figure = figures.get(name, {})
            top = figure.get("value") is not None and figure["value"] == best.get(name)
            cells.append(Cell(_number(figure.get("value")), _range(figure), "best" if top else ""))
        rows.append((PIPELINE if title == PIPELINE else "", cells))
    heads = ["system", *(verdict.label(name) for name in names)]
    return page.card(
        "Every system, every metric",
        page.table(heads, rows),
        "Small: 95% interval over users. Blue: best of its column.",
    )


def _sources_card(funnel: Mapping[str, Any]) -> str:
    found = _source_rows(funnel)
    if not found:
        return ""
    rows = [("", [Cell(text) for text in cells]) for cells in found]
    if funnel.get("recall@pool") is not None:
        rows.append(
            (PIPELINE, [Cell("all together"), Cell(f"{funnel['recall@pool']:.2%}"), Cell(""), Cell(""), Cell("")])
        )
    note = "Recall: share of the targets that the source put into the pool. Marginal: what would be lost without it."
    return page.card("What each source brings", page.table(SOURCE_HEADS, rows), note)


def _source_rows(funnel: Mapping[str, Any]) -> list[list[str]]:
    """The sources as text, the best recall first; columns as SOURCE_HEADS."""
    rows = []
    sources = funnel.get("sources") or {}
    for name, source in sorted(sources.items(), key=lambda entry: (-(entry[1].get("recall@pool") or 0.0), entry[0])):
        forms = (("recall@pool", ".2%"), ("marginal_recall", ".2%"), ("unique_hits", ","), ("ms_per_request", ".3f"))
        rows.append([name, *("–" if source.get(key) is None else format(source[key], form) for key, form in forms)])
    return rows


def _paired_card(metrics: Mapping[str, Any], found: Verdict) -> str:
    differences = metrics.get("paired") or {}
    names = _metric_names(differences.values(), found.metric)[:3]
    if not names:
        return ""

    def lead(entry: tuple[str, Mapping[str, Any]]) -> float:
        value = runfiles.figures(dict(entry[1])).get(found.metric, {}).get("value")
        return float("inf") if value is None else (-value if verdict.lower_is_better(found.metric) else value)

    rows = []
    for title, system in sorted(differences.items(), key=lead):
        cells = [
            Cell(f"− {verdict.short(title.removeprefix(PIPELINE + ' - '))}" if title.startswith(PIPELINE) else title)
        ]
        for name in names:
            figure = runfiles.figures(system).get(name, {})
            value = figure.get("value")
            css = {"good": "up", "bad": "down"}.get(_direction(figure, name), "")
            cells.append(Cell("–" if value is None else verdict.signed(value), verdict.span(figure, "").strip(), css))
        rows.append(("", cells))
    note = "Differences on the same requests, with their own 95% intervals; the closest rival first. Green or red: zero is outside."
    others = "other system" if any(verdict.BASELINE in title for title in differences) else "source"
    return page.card(f"Pipeline minus each {others}", page.table(["pipeline", *map(verdict.label, names)], rows), note)


def _direction(figure: Mapping[str, Any], metric: str) -> str:
    """good or bad where the interval of a difference leaves out zero."""
    low, high = figure.get("low"), figure.get("high")
    if low is None or high is None or low <= 0 <= high:
        return ""
    return "good" if (low > 0) != verdict.lower_is_better(metric) else "bad"


def _slices_card(metrics: Mapping[str, Any], found: Verdict) -> str:
    systems = _sorted(metrics, found.metric)
    slices = list(dict.fromkeys(name for _, system in systems for name in system.get("slices", {})))
    if not slices:
        return ""
    rows = []
    for title, system in systems:
        figures = [runfiles.figures(system.get("slices", {}).get(name) or {}).get(found.metric, {}) for name in slices]
        cells = [Cell(verdict.short(title)), *(Cell(_number(f.get("value")), _range(f)) for f in figures)]
        rows.append((PIPELINE if title == PIPELINE else "", cells))
    note = f"{verdict.label(found.metric)}. Warm: users with a history at the time of the request; cold: without."
    counts = [systems[0][1].get("slices", {}).get(name, {}).get("requests") for name in slices]
    heads = [name if count is None else f"{name} ({count:,})" for name, count in zip(slices, counts, strict=True)]
    return page.card("Slices of users", page.table(["system", *heads], rows), note)


def _windows_card(details: Mapping[str, Any], found: Verdict) -> str:
    windows = details.get("windows") or []
    if len(windows) < 2:
        return ""
    names = list(dict.fromkeys(name for window in windows for name in window.get("systems", {})))
    rest = sorted(
        (name for name in names if name != PIPELINE),
        key=lambda name: (verdict.short(name) != found.best, names.index(name)),
    )
    kept = [name for name in [PIPELINE, *rest] if name in names][:4]
    series: dict[str, list[plot.Point]] = {}
    for name in kept:
        series[name] = []
        for at, window in enumerate(windows):
            figure = runfiles.figures(window.get("systems", {}).get(name, {})).get(found.metric, {})
            if figure.get("value") is not None:
                series[name].append((float(at), figure["value"], figure.get("low"), figure.get("high")))
    labels = [_moment(window["from"])[5:10] if "from" in window else str(at + 1) for at, window in enumerate(windows)]
    title = f"{verdict.label(found.metric)} per test window"
    key = page.legend([(plot.LINES[min(i, 4)], verdict.short(name)) for i, name in enumerate(kept)])
    return page.card(
        title,
        plot.lines("windows", series, about=title, labels=labels) + key,
        "Each window is trained on what came before it.",
    )


def _importance_card(details: Mapping[str, Any]) -> str:
    entries = [entry for entry in details.get("importance") or [] if entry.get("gain") is not None]
    if not entries:
        return ""
    top = sorted(entries, key=lambda entry: (-entry["gain"], str(entry["feature"])))[:20]
    total = sum(abs(entry["gain"]) for entry in entries) or 1.0
    rows = [plot.Bar(str(entry["feature"]), 100.0 * entry["gain"] / total) for entry in top]
    note = f"Percent of the ranker's total gain; {len(top)} of {len(entries)} features."
    return page.card(
        "What the ranker looks at", plot.bars("importance", rows, about="Feature importance", digits=1), note
    )


def _learning_card(details: Mapping[str, Any]) -> str:
    curves = details.get("learning") or {}
    if any(isinstance(values, list) for values in curves.values()):
        curves = {"ranker": curves}
    body = ""
    for number, (ranker, curve) in enumerate(curves.items()):
        together = [name for name in ("valid", "train") if name in curve]
        others = [name for name in curve if name not in ("valid", "train", "iteration")]
        # Curves of other names may have other units, so each gets axes of its own.
        for part, names in enumerate([together, *([name] for name in others)]):
            body += _curves(f"learning-{number}-{part}", ranker, curve, names)
    return page.card("Learning of the ranker", body) if body else ""


def _curves(name: str, ranker: str, curve: Mapping[str, Any], names: list[str]) -> str:
    """One plot of some curves over the iterations; "" when they are empty."""
    series: dict[str, list[plot.Point]] = {}
    for column in names:
        values = curve[column] or []
        steps = curve.get("iteration") or range(len(values))
        points: list[plot.Point] = [
            (float(x), y, None, None) for x, y in zip(steps, values, strict=False) if y is not None
        ]
        if points:
            series[column] = points
    if not series:
        return ""
    key = page.legend([(plot.LINES[i], f"{ranker}: {column}") for i, column in enumerate(series)])
    return plot.lines(name, series, about=f"Learning of {ranker}", title="iteration") + key


def _timeline_card(metrics: Mapping[str, Any]) -> str:
    timeline = metrics.get("timeline") or {}
    if timeline.get("split") == "last":
        return page.card(
            "Timeline",
            "",
            "The last events of each user are the answers. This leaks across users: for comparison with papers only.",
        )
    tests = [(units.moment(start), units.moment(end)) for start, end in timeline.get("test") or []]
    if not tests:
        return ""
    cutoffs = sorted(units.moment(time) for time in timeline.get("cutoffs") or [])
    first = units.moment(timeline["train_from"]) if timeline.get("train_from") else min([*cutoffs, tests[0][0]])
    recent = min([*cutoffs, tests[0][0]])
    # A long history is cut, so that windows of hours or days can be seen.
    start = max(first, recent - 1.5 * (tests[-1][1] - recent))
    rows: list[str] = []
    spans: list[plot.Span] = []
    for cutoff, following in pairwise([*cutoffs, tests[-1][0]]):
        end = cutoff + timeline["window_seconds"] if timeline.get("window_seconds") else following
        spans += [plot.Span(len(rows), first, cutoff, "other"), plot.Span(len(rows), cutoff, end, "second")]
        rows.append("validation" if following == tests[-1][0] else f"label {len(rows) + 1}")
    for number, (test_from, until) in enumerate(tests, 1):
        spans += [plot.Span(len(rows), first, test_from, "other"), plot.Span(len(rows), test_from, until, "good")]
        rows.append(f"test {number}" if len(tests) > 1 else "test")
    about = "Training, label and test windows in time"
    pictures = [
        f'<div class="only-{name}">'
        + plot.timeline(f"timeline-{name}", rows, spans, about=about, start=start, width=width, broad=name == "wide")
        + "</div>"
        for name, width in (("wide", 1080.0), ("narrow", plot.WIDTH))
    ]
    key = page.legend(
        [
            ("other", "what the sources and the state know"),
            ("second", "labels: what the ranker learns from, and is judged on"),
            ("good", "test"),
        ]
    )
    note = "Nothing right of a grey bar was known to what was trained there (UTC)."
    note += " The label windows are those of the newest test." if len(tests) > 1 and cutoffs else ""
    cut = (
        f" The history goes back to {_moment(timeline['train_from'])}; the axis begins later." if start > first else ""
    )
    return page.card("Timeline", "".join(pictures) + key, note + cut)


def _examples_card(details: Mapping[str, Any]) -> str:
    shown = []
    for example in details.get("examples") or []:
        history = "".join(f"<li>{page.esc(title)}</li>" for title in example.get("history") or [])
        about = "History, newest first" if history else "No history"
        answers = []
        for entry in example.get("recommended") or []:
            entry = entry if isinstance(entry, dict) else {"title": entry}
            names = entry.get("sources") or [name for name in str(entry.get("source") or "").split("|") if name]
            tags = "".join(f'<span class="tag">{page.esc(name)}</span>' for name in names)
            hit = '<span class="tag hit">taken</span>' if entry.get("hit") else ""
            answers.append(
                f"<li{' class=hit' if entry.get('hit') else ''}>{page.esc(entry.get('title', ''))}{hit}{tags}</li>"
            )
        when = f", {_moment(example['time'])}" if example.get("time") is not None else ""
        took = ", ".join(str(title) for title in example.get("targets") or [])
        shown.append(
            f'<div class="example"><h3>User {page.esc(example.get("user", "?"))}{page.esc(when)}</h3><div class="sides">'
            f'<div><p class="note">{about}</p><ol>{history}</ol></div>'
            f'<div><p class="note">Recommended, and who found it</p><ol>{"".join(answers)}</ol></div></div>'
            + (f'<p class="note">Taken afterwards: {page.esc(took)}</p>' if took else "")
            + "</div>"
        )
    return page.card("A few users", "".join(shown)) if shown else ""


def _cost_card(metrics: Mapping[str, Any], funnel: Mapping[str, Any]) -> str:
    entries = [(name.replace("_", " "), _duration(value)) for name, value in (metrics.get("seconds") or {}).items()]
    if metrics.get("peak_rss_mb") is not None:
        entries.append(("peak memory", f"{metrics['peak_rss_mb']:,.0f} MB"))
    body = page.pairs(entries) if entries else ""
    stages: dict[str, float] = {}
    for name, spent in (funnel.get("ms_per_request") or {}).items():
        stage = {"source": "sources", "feature": "features"}.get(name.partition(".")[0], name)
        stages[stage] = stages.get(stage, 0.0) + spent
    if stages:
        stages["all"] = sum(stages.values())
        times = [(name, f"{spent:.3f} ms") for name, spent in stages.items()]
        body += f"<h3>A request, answered in batches</h3>{page.pairs(times)}"
    return page.card("Time and memory", body) if body else ""


def _provenance_card(metrics: Mapping[str, Any], recipe: Mapping[str, Any], details: Mapping[str, Any]) -> str:
    data = metrics.get("data")
    entries = [("data fingerprint", data if isinstance(data, str) else json.dumps(data))] if data is not None else []
    entries += [("seed", str(recipe["seed"]))] if "seed" in recipe else []
    entries += [("version", str(metrics["version"]))] if "version" in metrics else []
    body = page.pairs(entries) if entries else ""
    command = details.get("command") or metrics.get("command")
    if command:
        body += f'<h3>Command</h3><pre class="wrap">{page.esc(command)}</pre>'
    if recipe:
        text = json.dumps(recipe, indent=2, ensure_ascii=False)
        body += (
            f"<h3>Recipe</h3><details><summary>every option, as resolved</summary><pre>{page.esc(text)}</pre></details>"
        )
    return page.card("How to get this again", body) if body else ""


def _sorted(metrics: Mapping[str, Any], metric: str) -> list[tuple[str, dict[str, Any]]]:
    """Systems: the pipeline first, then the best by the metric first."""
    sign = 1.0 if verdict.lower_is_better(metric) else -1.0

    def key(entry: tuple[str, dict[str, Any]]) -> tuple[bool, float, str]:
        value = runfiles.figures(entry[1]).get(metric, {}).get("value")
        return entry[0] != PIPELINE, sign * value if value is not None else float("inf"), entry[0]

    return sorted(metrics.get("systems", {}).items(), key=key)


def _metric_names(systems: Iterable[Mapping[str, Any]], main: str) -> list[str]:
    """All metrics of some systems: those at the k of the main metric first, and the best known of them first."""
    names = dict.fromkeys(name for system in systems for name in runfiles.figures(dict(system)))
    shown = (main.partition("@")[2], "", "1")
    return sorted(names, key=lambda name: (name.partition("@")[2] not in shown, _place(name)))


def _place(metric: str) -> int:
    name = metric.partition("@")[0]
    return SHOWN_FIRST.index(name) if name in SHOWN_FIRST else len(SHOWN_FIRST)


def _number(value: float | None) -> str:
    """Four decimals; fewer for what is not a share (novelty in bits, counts)."""
    if value is None:
        return "–"
    return f"{value:.4f}" if abs(value) < 2 else f"{value:,.2f}"


def _range(figure: Mapping[str, Any]) -> str:
    if figure.get("low") is None or figure.get("high") is None:
        return ""
    return f"{_number(figure['low'])} – {_number(figure['high'])}"


def _moment(value: Any) -> str:
    """A time for people: to the minute, or the day alone when it is midnight."""
    text = units.iso(units.moment(value)).replace("T", " ")[:16]
    return text.removesuffix(" 00:00")


def _duration(seconds: float) -> str:
    if seconds >= 90:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"


def table(metrics: Mapping[str, Any], funnel: Mapping[str, Any]) -> Group:
    """For the terminal: the verdict, then every system with its interval and what it brings, then the funnel."""
    found = verdict.judge(metrics, funnel)
    colour = {"good": "green", "bad": "red", "even": "yellow", "none": "cyan"}[found.kind]
    parts: list[Any] = [
        f"[bold {colour}]{escape(found.headline)}[/]",
        *(f"[dim]{escape(line)}[/]" for line in found.reasons),
    ]
    parts.append(_systems_table(metrics, found))
    if funnel.get("sources"):
        parts.append(_sources_table(funnel))
    stages = funnel.get("stages") or {}
    if stages and not _given(funnel):
        fate = Table(box=box.SIMPLE_HEAD, title="Funnel: what became of the targets", title_justify="left")
        fate.add_column("stage")
        fate.add_column("share", justify="right")
        fate.add_column("what it means", style="dim")
        for name, meaning in MEANING.items():
            fate.add_row(name, f"{stages.get(name, 0.0):.1%}", meaning)
        parts.append(fate)
    return Group(*parts)


def _systems_table(metrics: Mapping[str, Any], found: Verdict) -> Table:
    names = _metric_names(metrics.get("systems", {}).values(), found.metric)
    others = [name for name in names if name != found.metric]
    others = [name for name in others if name in GIVEN] if found.metric in GIVEN else others[:2]
    systems = Table(box=box.SIMPLE_HEAD, title="Systems", title_justify="left")
    systems.add_column("system", no_wrap=True)
    systems.add_column(f"{verdict.label(found.metric)} \\[95%]", justify="right", no_wrap=True)
    for other in others:
        systems.add_column(verdict.label(other), justify="right")
    for name, system in _sorted(metrics, found.metric):
        figures = runfiles.figures(system)
        main = figures.get(found.metric, {})
        known = main.get("low") is not None and main.get("high") is not None
        ends = f" [dim]\\[{main['low']:.4f}, {main['high']:.4f}][/]" if known else ""
        cells = [_number(figures.get(other, {}).get("value")) for other in others]
        style = "bold" if name == PIPELINE else None
        systems.add_row(escape(verdict.short(name)), _number(main.get("value")) + ends, *cells, style=style)
    return systems


def _sources_table(funnel: Mapping[str, Any]) -> Table:
    sources = Table(box=box.SIMPLE_HEAD, title="Sources: what each brings to the pool", title_justify="left")
    for title in SOURCE_HEADS:
        sources.add_column(title, justify="left" if title == "source" else "right", no_wrap=title == "source")
    for cells in _source_rows(funnel):
        sources.add_row(*map(escape, cells))
    return sources
