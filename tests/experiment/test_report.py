"""The report: says first what matters, needs nothing from outside, is equal for equal files, and takes any name safely."""

import copy
import io
import json
import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from shortlist.core.errors import ConfigError, DataError
from shortlist.experiment import plot, report, verdict

VOID = {"meta", "br", "hr", "img", "input", "link"}


def figure(value: float, half: float = 0.003) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half}


def system(ndcg: float) -> dict[str, Any]:
    return {
        "ndcg@10": figure(ndcg),
        "hitrate@10": figure(2 * ndcg),
        "coverage@10": {"value": 0.031, "low": None, "high": None},
        "slices": {"warm": {"ndcg@10": figure(ndcg * 1.1)}, "cold": {"ndcg@10": figure(ndcg * 0.7)}},
    }


def run(gain: float = 0.0052) -> dict[str, dict[str, Any]]:
    """The contents of the four files of a run whose pipeline is ahead of its best source by `gain`."""
    test = [[f"2017-10-{day}T00:00:00", f"2017-10-{day + 1}T00:00:00"] for day in (15, 16)]
    systems = {"pipeline": system(0.1372 + gain), "source:popular_2h": system(0.1372), "source:ease": system(0.05)}
    return {
        "metrics.json": {
            "data": "blake2b:6f1c",
            "requests": 20_000,
            "systems": systems,
            "paired": {
                f"pipeline - {name}": {"ndcg@10": figure(systems["pipeline"]["ndcg@10"]["value"] - value, 0.0024)}
                for name, value in (("source:popular_2h", 0.1372), ("source:ease", 0.05))
            },
            "timeline": {
                "train_from": "2017-10-01T00:00:00",
                "cutoffs": ["2017-10-12T00:00:00", "2017-10-13T00:00:00"],
                "window_seconds": 86400,
                "test": test,
            },
            "seconds": {"fit": 131.4, "recommend": 41.2},
            "peak_rss_mb": 2143.2,
        },
        "funnel.json": {
            "sources": {
                "popular_2h": {"recall@pool": 0.3, "marginal_recall": 0.1, "unique_hits": 6100, "ms_per_request": 0.01},
                "ease": {"recall@pool": 0.2, "marginal_recall": 0.05, "unique_hits": 3050, "ms_per_request": 0.2},
            },
            "stages": {"missed": 0.55, "filtered": 0.01, "misranked": 0.26, "ruled_out": 0.01, "hit": 0.17},
            "oracle_ndcg@10": 0.51,
            "pool_size": 412.7,
            "recall@pool": 0.44,
            "ms_per_request": {"source.popular_2h": 0.01, "source.ease": 0.2, "merge": 0.1, "rank": 2.0},
            "guard": {"verdict": "ranker", "validation": {"pipeline": 0.14, "source:popular_2h": 0.13}, "mode": "warn"},
        },
        "recipe.json": {"title": "globo-day", "seed": 0, "source": [{"type": "ease", "reg": 500.0}]},
        "details.json": {
            "command": "shortlist backtest globo-day.toml --data globo --out runs/1",
            "notes": ["Two users were left out."],
            "importance": [{"feature": f"feature_{i}", "gain": float(30 - i)} for i in range(25)],
            "learning": {"catboost": {"iteration": [0, 10, 20], "train": [0.1, 0.2, 0.3], "valid": [0.1, 0.19, None]}},
            "windows": [{"from": start, "until": end, "requests": 10_000, "systems": systems} for start, end in test],
            "examples": [
                {
                    "user": "u7",
                    "time": 1508112000,
                    "history": ["Budget vote"],
                    "recommended": [{"title": "Storm warning", "source": "popular_2h|ease", "hit": True}, "Other"],
                    "targets": ["Storm warning"],
                }
            ],
        },
    }


def render(files: dict[str, dict[str, Any]]) -> str:
    return report.render(
        *(files.get(name, {}) for name in ("metrics.json", "funnel.json", "recipe.json", "details.json"))
    )


@cache
def whole() -> str:
    """The page of `run()` as it is."""
    return render(run())


class Page(HTMLParser):
    """Checks that tags nest, and collects text, ids and what would be loaded from outside."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.links += [value for name, value in attrs if name in ("href", "src", "xlink:href") and value]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_the_page_says_what_matters_first() -> None:
    text = Page(whole()).text
    headline = "The pipeline beats its best source, popular_2h, by +0.0052 NDCG@10 [95% +0.0028, +0.0076]."
    assert text.index(headline) < text.index("0.1424") < text.index("Where the targets are lost")
    for piece in (
        "Two users were left out.",
        "20,000 requests",
        "Pipeline minus each source",
        "What each source brings",
        "6,100",
        "Slices of users",
        "NDCG@10 per test window",
        "20 of 25 features",
        "Learning of the ranker",
        "Timeline",
        "Storm warning",
        "2 min 11 s",
        "sources 0.210 ms",
        "all 2.310 ms",
        "2,143 MB",
        "blake2b:6f1c",
        "shortlist backtest globo-day.toml --data globo --out runs/1",
        '"reg": 500.0',
    ):
        assert piece in text


def test_nothing_comes_from_outside_and_ids_are_unique() -> None:
    text = whole()
    found = Page(text)
    assert not found.tags & {"script", "link", "img", "iframe", "object"}
    assert all(link.startswith("#") for link in found.links)
    assert found.links  # the plots refer to their own markers
    assert len(set(found.ids)) == len(found.ids)
    assert {link[1:] for link in found.links} <= set(found.ids)
    assert "@import" not in text
    assert set(re.findall(r"url\((.)", text)) == {"#"}
    assert set(re.findall(r"https?://[^\"< ]+", text)) == {"http://www.w3.org/1999/xlink"}


def test_plots_are_well_formed_and_take_the_colours_of_the_page() -> None:
    plots = re.findall(r"<svg.*?</svg>", whole(), flags=re.S)
    assert len(plots) == 7  # systems, funnel, windows, importance, learning, and the timeline twice
    for text in plots:
        tree = ElementTree.fromstring(text)
        assert tree.attrib["role"] == "img"
        assert tree.attrib["aria-label"]
        colours = set(re.findall(r"(?:fill|stroke): ([^;\"]+)", text))
        assert "var(--ink)" in colours or "var(--muted)" in colours
        assert colours <= {"none", *(f"var(--{role})" for role in plot.ROLES)}
        assert "font-family" not in text
    assert "prefers-color-scheme: dark" in whole()


def test_equal_files_give_equal_bytes(tmp_path: Path) -> None:
    pages = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        for file, content in run().items():
            (folder / file).write_text(json.dumps(content))
        path = report.write(folder)
        assert path == folder / "report.html"
        pages.append(path.read_bytes())
    assert pages[0] == pages[1]
    assert pages[0].decode() == whole()


def test_names_are_text_never_markup() -> None:
    files = run()
    bad = '<script>alert("x")</script> & $a$ \\frac'
    files["metrics.json"]["systems"][f"source:{bad}"] = system(0.2)
    files["metrics.json"]["data"] = bad
    files["funnel.json"]["sources"][bad] = {"recall@pool": 0.1}
    files["recipe.json"]["title"] = bad
    details = files["details.json"]
    details["importance"][0]["feature"] = details["command"] = bad
    details["notes"] = [bad]
    details["examples"][0] |= {
        "user": bad,
        "history": [bad],
        "recommended": [{"title": bad, "source": bad}],
        "targets": [bad],
    }
    written = render(files)
    found = Page(written)
    assert "script" not in found.tags
    assert found.text.count("<script>alert") >= 10
    for text in re.findall(r"<svg.*?</svg>", written, flags=re.S):
        ElementTree.fromstring(text)


@pytest.mark.parametrize("left_out", ["funnel.json", "recipe.json", "details.json"])
def test_a_missing_file_leaves_out_its_parts(left_out: str) -> None:
    files = run()
    del files[left_out]
    text = Page(render(files)).text
    assert "beats its best source" in text
    assert ("Where the targets are lost" in text) == (left_out != "funnel.json")
    assert ("Storm warning" in text) == (left_out != "details.json")
    assert ("every option, as resolved" in text) == (left_out != "recipe.json")


def test_the_least_that_a_run_can_hold() -> None:
    text = Page(render({"metrics.json": {"systems": {"pipeline": {"auc": 0.75}}}})).text
    assert "AUC: pipeline 0.7500. There is nothing to compare with." in text
    with pytest.raises(ConfigError, match="no metric in any of the systems none"):
        render({"metrics.json": {"systems": {}}})


def test_a_folder_that_is_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a run folder"):
        report.write(tmp_path)
    (tmp_path / "metrics.json").write_text("[1]")
    with pytest.raises(DataError, match="expected a JSON object, got list"):
        report.write(tmp_path)


@pytest.mark.parametrize(
    ("gain", "kind", "words"),
    [
        (0.0052, "good", "beats its best source, popular_2h, by +0.0052 NDCG@10 [95% +0.0028, +0.0076]."),
        (0.0010, "even", "does NOT clearly beat its best source, popular_2h: +0.0010 NDCG@10 [95% −0.0014, +0.0034]"),
        (-0.0010, "even", "does NOT clearly beat its best source, popular_2h: −0.0010 NDCG@10"),
        (-0.0052, "bad", "does NOT beat its best source, popular_2h: −0.0052 NDCG@10 [95% −0.0076, −0.0028]."),
    ],
)
def test_verdict(gain: float, kind: str, words: str) -> None:
    files = run(gain)
    found = verdict.judge(files["metrics.json"], files["funnel.json"])
    assert (found.kind, found.best, found.metric) == (kind, "popular_2h", "ndcg@10")
    assert words in found.headline
    assert any("no source found them" in reason for reason in found.reasons)
    assert any("the test window is unlike it" in reason for reason in found.reasons) == (kind != "good")


def test_verdict_without_intervals_claims_no_lead() -> None:
    metrics = {"systems": {"pipeline": {"ndcg@10": 0.2}, "source:ease": {"ndcg@10": 0.1}}}
    assert verdict.judge(metrics, {}).kind == "even"
    metrics["systems"]["pipeline"] = {"ndcg@10": 0.05}
    assert verdict.judge(metrics, {}).kind == "bad"


def test_verdict_on_a_loss_is_the_right_way_round() -> None:
    metrics = {
        "systems": {
            "pipeline": {"logloss": figure(0.5)},
            "source:a": {"logloss": figure(0.6)},
            "source:b": {"logloss": figure(0.7)},
        },
        "paired": {"pipeline - source:a": {"logloss": figure(-0.1, 0.01)}},
    }
    found = verdict.judge(metrics, {})
    assert (found.kind, found.best) == ("good", "a")
    assert "by −0.1000 Log loss" in found.headline


@pytest.mark.parametrize(("mode", "words"), [("warn", "it only warns"), ("fallback", "ordered by that source")])
def test_the_guard_is_heard(mode: str, words: str) -> None:
    files = run(-0.01)
    files["funnel.json"]["guard"] = {
        "verdict": "source:popular_2h",
        "validation": {"pipeline": 0.13, "source:popular_2h": 0.14},
        "mode": mode,
    }
    reasons = verdict.judge(files["metrics.json"], files["funnel.json"]).reasons
    assert "popular_2h at least as good as the ranker on the validation window (0.1400 against 0.1300)" in reasons[0]
    assert words in reasons[0]


def test_curves_of_other_names_have_axes_of_their_own() -> None:
    files = run()
    files["details.json"]["learning"] = {"catboost": {"Logloss": [0.7, 0.6], "NDCG:top=10": [0.1, 0.2, 0.3]}}
    text = render(files)
    assert text.count('aria-label="Learning of catboost"') == 2
    files["details.json"]["learning"] = {"train": [0.1, 0.2], "valid": [0.1, 0.1]}
    assert render(files).count('aria-label="Learning of ranker"') == 1


def test_leave_one_out_is_called_what_it_is() -> None:
    files = run()
    files["metrics.json"]["timeline"]["split"] = "last"
    assert "This leaks across users" in Page(render(files)).text


def test_label_windows_reach_to_the_next_cut_off() -> None:
    files = run()
    del files["metrics.json"]["timeline"]["window_seconds"]
    files["metrics.json"]["timeline"]["cutoffs"] = ["2017-10-14T00:00:00", "2017-10-15T00:00:00"]
    text = render(files)
    assert ">label 1</text>" in text
    assert ">validation</text>" in text


def test_long_names_lose_their_middle_not_their_end() -> None:
    names = [f"long_view/item.author_id/{window}:trend" for window in ("30d", "7d")]
    text = plot.bars("names", [plot.Bar(name, 1.0) for name in names], about="names")
    shown = re.findall(r">(long_view[^<]*)<", text)
    assert len(set(shown)) == 2
    assert all("…" in name and len(name) == plot.LONGEST for name in shown)


def test_the_funnel_steps_add_up() -> None:
    steps = plot.steps_of(run()["funnel.json"]["stages"], report.STEPS)
    assert [title for title, _, _ in steps] == list(report.STEPS.values())
    assert [round(left, 6) for _, left, _ in steps] == [0.99, 0.44, 0.18, 0.17]
    assert [round(lost, 6) for _, _, lost in steps] == [0.01, 0.55, 0.26, 0.01]


def test_the_terminal_tells_the_same() -> None:
    files = copy.deepcopy(run())
    files["metrics.json"]["systems"]["source:[red]odd"] = system(0.01)
    out = io.StringIO()
    Console(file=out, width=100, no_color=True).print(report.table(files["metrics.json"], files["funnel.json"]))
    text = " ".join(out.getvalue().split())
    for piece in (
        "beats its best source, popular_2h, by +0.0052 NDCG@10 [95% +0.0028, +0.0076].",
        "pipeline 0.1424 [0.1394, 0.1454] 0.2848",
        "popular_2h 0.1372 [0.1342, 0.1402]",
        "[red]odd 0.0100",
        "popular_2h 30.00% 10.00% 6,100 0.010",
        "missed 55.0% no source put the target into the pool",
        "hit 17.0%",
    ):
        assert piece in text
