"""Plots of the report, as SVG text that goes into the page: the only file that imports matplotlib.

Colours are roles, not values: each is drawn in a stand-in colour and then replaced by a CSS variable of the page, so one
picture serves light and dark. Equal input gives equal bytes: no dates, and a fixed salt for the ids.
"""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, TypeAlias

import matplotlib
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

ROLES = ("ink", "muted", "grid", "accent", "other", "loss", "good", "second")
PAINT = {role: f"#0{i}0{i}0{i}" for i, role in enumerate(ROLES, 1)}
LINES = ("accent", "second", "good", "muted", "loss")  # colours of curves, the first for the one to look at
WIDTH = 420.0  # of a plot in SVG units; type of 12 units then reads well in a column, and on a phone
TYPE = 12.0
SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": TYPE - 1,
    "axes.linewidth": 0.8,
    "font.family": "DejaVu Sans",
}
LONGEST = 30  # characters of a row name
Point: TypeAlias = tuple[float, float, float | None, float | None]  # of a curve: x, value, low, high


@contextmanager
def _settings() -> Iterator[None]:
    """matplotlib's own defaults and ours, whatever the machine's settings file says."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        yield


@dataclass(frozen=True)
class Bar:
    """One row of a bar plot. low, high: ends of the interval, None when not known; strong: the one to look at."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    strong: bool = False


@_settings()
def bars(name: str, rows: Sequence[Bar], *, about: str, start: float = 0.0, digits: int = 4) -> str:
    """Horizontal bars with their intervals, in the given order from the top. start: where the axis begins."""
    figure, axes = _figure(len(rows) * 26.0 + 34.0, left=_margin([row.name for row in rows]), bottom=26.0)
    reach = max([start, *(row.high if row.high is not None else row.value for row in rows)])
    axes.set_xlim(start, start + (reach - start) * 1.22 if reach > start else start + 1.0)
    for y, row in enumerate(rows):
        role = "accent" if row.strong else "other"
        axes.barh(y, row.value - start, left=start, height=0.62, color=PAINT[role])
        end = row.value
        if row.low is not None and row.high is not None:
            axes.plot([row.low, row.high], [y, y], color=PAINT["ink"], linewidth=1.3, solid_capstyle="butt")
            axes.plot([row.low, row.high], [y, y], linestyle="none", marker="|", markersize=7, color=PAINT["ink"])
            end = max(row.high, end)
        axes.annotate(
            f"{row.value:.{digits}f}",
            (end, y),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=PAINT["ink"],
            weight="bold" if row.strong else "normal",
        )
    _rows(axes, [row.name for row in rows])
    axes.xaxis.set_major_locator(ticker.MaxNLocator(5))
    axes.grid(axis="x", color=PAINT["grid"], linewidth=0.8)
    return _svg(figure, name, about)


@_settings()
def funnel(name: str, steps: Sequence[tuple[str, float, float]], *, about: str) -> str:
    """What is left of the targets, stage by stage. steps: (title, share left, share lost at this stage), from the top."""
    figure, axes = _figure(len(steps) * 34.0 + 8.0, left=_margin([title for title, _, _ in steps]), bottom=4.0)
    axes.set_xlim(0.0, 1.0)
    for y, (_, left, lost) in enumerate(steps):
        role = "good" if y == len(steps) - 1 else "accent"
        axes.barh(y, left, height=0.66, color=PAINT[role], alpha=1.0 if y == len(steps) - 1 else 0.55)
        axes.barh(y, lost, left=left, height=0.66, color=PAINT["loss"], alpha=0.55)
        text = f"{left:.1%}" + (f"   \N{MINUS SIGN}{lost:.1%}" if lost > 0 else "")
        inside = left + lost > 0.6
        axes.text(0.015 if inside else left + lost + 0.015, y, text, va="center", color=PAINT["ink"])
    _rows(axes, [title for title, _, _ in steps])
    axes.set_xticks([])
    return _svg(figure, name, about)


@_settings()
def lines(
    name: str,
    series: Mapping[str, Sequence[Point]],
    *,
    about: str,
    labels: Sequence[str] = (),
    title: str = "",
) -> str:
    """Curves. series: name -> points (x, value, low, high); the first is the one to look at. labels: names of x = 0, 1, ..."""
    figure, axes = _figure(240.0, left=44.0, bottom=40.0 if title else 26.0, top=26.0)
    for place, (_, points) in enumerate(series.items()):
        role = LINES[min(place, len(LINES) - 1)]
        known = [point for point in points if point[1] is not None]
        x, y = [point[0] for point in known], [point[1] for point in known]
        marker = "o" if len(x) <= 30 else ""
        axes.plot(x, y, color=PAINT[role], linewidth=2.2 if place == 0 else 1.5, marker=marker, markersize=4.5)
        for at, _, low, high in known:
            if low is not None and high is not None:
                shift = (place - (len(series) - 1) / 2) * 0.03
                axes.plot([at + shift] * 2, [low, high], color=PAINT[role], linewidth=1.2)
    if labels:
        axes.set_xticks(range(len(labels)), labels)
        axes.set_xlim(-0.3, len(labels) - 0.7)
    else:
        axes.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(ticker.MaxNLocator(5))
    axes.set_xlabel(title, color=PAINT["muted"])
    axes.grid(axis="y", color=PAINT["grid"], linewidth=0.8)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    return _svg(figure, name, about)


@_settings()
def reliability(name: str, series: Mapping[str, Sequence[Point]], *, about: str) -> str:
    """Predicted against observed shares with the diagonal, both axes from 0 to 1. series: as for `lines`."""
    figure, axes = _figure(300.0, left=44.0, bottom=40.0)
    axes.plot([0.0, 1.0], [0.0, 1.0], color=PAINT["muted"], linewidth=1.0, linestyle="--")
    for place, points in reversed(list(enumerate(series.values()))):  # the first one on top
        role = LINES[min(place, len(LINES) - 1)]
        width = 2.2 if place == 0 else 1.5
        x, y = [point[0] for point in points], [point[1] for point in points]
        axes.plot(x, y, color=PAINT[role], linewidth=width, marker="o", markersize=4.5)
    axes.set_xlim(0.0, 1.0)
    axes.set_ylim(0.0, 1.0)
    axes.set_xlabel("predicted probability", color=PAINT["muted"])
    axes.grid(color=PAINT["grid"], linewidth=0.8)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    return _svg(figure, name, about)


@dataclass(frozen=True)
class Span:
    """A piece of the timeline on one row: unix seconds, and its role (other = history, second = labels, good = test)."""

    row: int
    start: float
    end: float
    role: str


@_settings()
def timeline(
    name: str,
    rows: Sequence[str],
    spans: Sequence[Span],
    *,
    about: str,
    start: float,
    width: float = WIDTH,
    broad: bool = False,
) -> str:
    """Bars on a time axis (UTC), one line per row from the top. start: where the axis begins; what begins before is cut.
    broad: for the full width of the page."""
    figure, axes = _figure(len(rows) * 24.0 + 36.0, left=_margin(rows), bottom=28.0, width=width)
    end = max(span.end for span in spans)
    least = (end - start) / 250  # so that a window of an hour in a year can still be seen
    for span in spans:
        left = max(span.start, start)
        axes.barh(span.row, max(span.end - left, least), left=left, height=0.6, color=PAINT[span.role])
    axes.set_xlim(start, end + (end - start) * 0.01)
    axes.set_xticks(*_moments(start, end, int(width // 90) - 1))
    _rows(axes, list(rows))
    axes.grid(axis="x", color=PAINT["grid"], linewidth=0.8)
    return _svg(figure, name, about, "plot broad" if broad else "plot")


def _moments(start: float, end: float, most: int) -> tuple[list[float], list[str]]:
    """At most this many round moments (UTC) between two times, and how to write them."""
    hour, day = 3600, 86400
    steps = (
        hour,
        2 * hour,
        6 * hour,
        12 * hour,
        day,
        2 * day,
        7 * day,
        14 * day,
        28 * day,
        91 * day,
        182 * day,
        364 * day,
    )
    step = next((step for step in steps if (end - start) / step <= most), steps[-1])
    ticks = [float(tick) for tick in range(int(-(-start // step)) * step, int(end) + 1, step)]
    form = "%m-%d %H:%M" if step < day else "%Y-%m-%d" if end - start > 300 * day else "%m-%d"
    return ticks, [datetime.fromtimestamp(tick, UTC).strftime(form) for tick in ticks]


def _margin(names: Sequence[str]) -> float:
    """Room for row names at the left."""
    return min(max([len(name) for name in names], default=0), LONGEST) * 6.8 + 14.0


def _figure(
    height: float, *, left: float, bottom: float, top: float = 4.0, width: float = WIDTH
) -> tuple[Figure, Axes]:
    """An empty plot of this height in SVG units, with these margins."""
    figure = Figure(figsize=(width / 72.0, height / 72.0))
    box = (left / width, bottom / height, (width - left - 6.0) / width, (height - bottom - top) / height)
    axes = figure.add_axes(box)
    axes.set_axisbelow(True)
    axes.patch.set_visible(False)
    figure.patch.set_visible(False)
    axes.tick_params(length=0, colors=PAINT["muted"], labelsize=TYPE - 1)
    for spine in axes.spines.values():
        spine.set_color(PAINT["grid"])
    return figure, axes


def _cut(name: str) -> str:
    """A long name without its middle: beginnings are often alike, and ends tell apart."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST // 2 - 1]}…{name[-(LONGEST // 2) :]}"


def _rows(axes: Axes, names: Sequence[str]) -> None:
    """Names at the left, the first at the top, and no frame."""
    axes.set_yticks(range(len(names)), [_cut(name) for name in names])
    for text in axes.get_yticklabels():
        text.set_parse_math(False)  # a dollar sign in a name is a dollar sign
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", colors=PAINT["ink"], labelsize=TYPE)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _svg(figure: Figure, name: str, about: str, css: str = "plot") -> str:
    """The figure as an `<svg>` element for a page: scalable, described, in the page's fonts and colours, ids its own."""
    out = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>", "", text, flags=re.S)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r"font-family: [^;\"]*;?", "", text)
    text = re.sub(
        r"font: (\w+ )?([\d.]+)px [^;\"]*",
        lambda m: f"font-weight: {(m[1] or '400').strip()}; font-size: {m[2]}px",
        text,
    )
    text = re.sub(r"\bid=\"", f'id="{name}-', text)
    text = re.sub(r"(url\(#|href=\"#)", rf"\1{name}-", text)
    for role, paint in PAINT.items():
        text = text.replace(paint, f"var(--{role})")
    box = re.search(r"viewBox=\"([^\"]+)\"", text)
    assert box is not None
    label = about.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    head = f'<svg class="{css}" viewBox="{box[1]}" role="img" aria-label="{label}" xmlns:xlink="http://www.w3.org/1999/xlink">'
    body = text[text.index(">") + 1 :]
    return head + re.sub(r"\n\s*", "\n", body).strip() + "\n"


def steps_of(stages: Mapping[str, float], titles: Mapping[str, str]) -> list[tuple[str, float, float]]:
    """Funnel stages as steps: (title, share left, share lost). titles: stage -> what is left after it, in order."""
    left = [1.0]
    for stage in titles:
        left.append(left[-1] - stages.get(stage, 0.0))
    return [
        (title, after, before - after) for title, (before, after) in zip(titles.values(), pairwise(left), strict=True)
    ]
