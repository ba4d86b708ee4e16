"""Experiments: sticky, even, and independent across layers; drafts by the rules; reports that find what is there."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shortlist.core.errors import ConfigError
from shortlist.core.rng import rng
from shortlist.metric.sequential import mismatch
from shortlist.serve.entry import Events, Served
from shortlist.serve.experiments import Experiments, Report, report, team_draft

TREE: dict[str, Any] = {
    "experiment": [
        {"name": "ranker", "layer": "ranking", "share": 0.5, "variant": [{"name": "control"}, {"name": "new", "weight": 3.0, "surface": "b"}]},
        {"name": "pool", "layer": "ranking", "share": 0.3, "variant": [{"name": "small"}, {"name": "large"}]},
        {"name": "page", "layer": "page", "variant": [{"name": "ten"}, {"name": "twenty"}]},
    ]
}  # fmt: skip
USERS = [f"user {i}" for i in range(20_000)]


def labels(experiments: Experiments, user: object) -> list[str]:
    return [one.label for one in experiments.assigned(user)]


def test_assignment_is_even_sticky_and_independent() -> None:
    """Shares and weights are met (by the ratio check), again and again the same, one experiment per layer, layers cross evenly."""
    experiments = Experiments.parse(TREE, ["default", "b"])
    given = {user: labels(experiments, user) for user in USERS}
    assert given == {user: labels(Experiments.parse(TREE, ["b"]), user) for user in USERS}
    counts = Counter(label for all_labels in given.values() for label in all_labels)
    assert mismatch([counts["ranker:control"], counts["ranker:new"]], [1, 3]) > 0.001
    inside = sum(counts[f"ranker:{name}"] for name in ("control", "new"))
    pool = sum(counts[f"pool:{name}"] for name in ("small", "large"))
    assert mismatch([inside, pool, len(USERS) - inside - pool], [0.5, 0.3, 0.2]) > 0.001
    for all_labels in given.values():
        assert len({label.split(":")[0] for label in all_labels} & {"ranker", "pool"}) <= 1
        assert len(all_labels) >= 1
    crossed = Counter(tuple(all_labels) for all_labels in given.values())
    assert mismatch([crossed["ranker:new", "page:ten"], crossed["ranker:new", "page:twenty"]], [1, 1]) > 0.001
    assert experiments.assigned(None) == []
    assert labels(experiments, 17) == labels(experiments, "17")


def test_another_salt_is_another_split() -> None:
    salted = {"experiment": [{**TREE["experiment"][2], "salt": "again"}]}
    one, other = Experiments.parse({"experiment": [TREE["experiment"][2]]}, []), Experiments.parse(salted, [])
    same = np.mean([labels(one, user) == labels(other, user) for user in USERS[:4000]])
    assert 0.46 < same < 0.54


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"layers": 1}, r"experiment\[0\]: unknown option 'layers'; did you mean 'layer'"),
        ({"share": 2.0}, r"experiment\[0\]\.share"),
        ({"name": "a:b"}, "is empty, taken, or holds"),
        ({"variant": [{"name": "one"}]}, "needs two variants or more"),
        ({"variant": [{"name": "one"}, {"name": "one"}]}, "each with a name of its own"),
        ({"variant": [{"name": "one"}, {"name": "two", "surface": "c"}]}, r"unknown surface 'c'; choices: a, b"),
        ({"variant": [{"name": "one"}, {"name": "two", "interleave": True}]}, "with which surface"),
        ({"share": 0.9}, "layer 'ranking' is given away already"),
    ],
)
def test_what_cannot_be_meant(change: dict[str, Any], said: str) -> None:
    first = {**TREE["experiment"][0], "variant": TREE["experiment"][1]["variant"], **change}
    with pytest.raises(ConfigError, match=said):
        Experiments.parse({"experiment": [first, TREE["experiment"][1]]}, ["a", "b"])


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "experiments.toml"
    path.write_text(
        '[[experiment]]\nname = "x"\n[[experiment.variant]]\nname = "a"\n[[experiment.variant]]\nname = "b"\n'
    )
    assert list(Experiments.read(path, []).experiments) == ["x"]
    path.write_text("[[")
    with pytest.raises(ConfigError, match=r"experiments\.toml: not valid TOML"):
        Experiments.read(path, [])
    with pytest.raises(ConfigError, match="no such file"):
        Experiments.read(tmp_path / "none.toml", [])


def slow_draft(one: list[int], other: list[int], k: int, coins: list[int]) -> tuple[list[int], str]:
    """The paper's algorithm, as it is written: the smaller team picks, a coin decides ties."""
    shown: list[int] = []
    teams = ""
    sides = ([*one], [*other])
    while len(shown) < k:
        left = [[item for item in side if item not in shown] for side in sides]
        if not left[0] and not left[1]:
            break
        counts = (teams.count("a"), teams.count("b"))
        team = 0 if counts[0] < counts[1] else 1 if counts[1] < counts[0] else coins.pop(0)
        if not left[team]:
            break
        shown.append(left[team][0])
        teams += "ab"[team]
    return shown, teams


def test_team_draft_is_the_papers() -> None:
    """The same list and teams as the algorithm in plain loops, while both lists last."""
    for seed in range(200):
        draw = rng(seed, "lists")
        one, other = (draw.permutation(30)[:20].tolist() for _ in range(2))
        coins = [int(rng(seed, "coins").integers(2))]
        stream = rng(seed, "coins")
        coins = [int(stream.integers(2)) for _ in range(20)]
        shown, teams = team_draft(one, other, 10, rng(seed, "coins"))
        assert (shown, teams) == slow_draft(one, other, 10, coins)
        assert len(set(shown)) == 10
        assert abs(teams.count("a") - teams.count("b")) <= 1


def test_team_draft_of_short_lists() -> None:
    """All there is, each item once."""
    draw = rng(0, "short")
    assert sorted(team_draft([1, 2], [2, 3, 4], 10, draw)[0]) == [1, 2, 3, 4]
    assert team_draft([], [5, 6], 10, draw) == ([5, 6], "bb")
    assert team_draft([], [], 10, draw) == ([], "")
    shown, teams = team_draft([1, 2, 3], [1, 2, 3], 2, draw)
    assert (shown, len(teams)) == ([1, 2], 2)


def world(lift: float, wins: float = 0.5, broken: bool = False) -> Report:
    """A made-up log: 4,000 users, two requests each, of which some are answered by a click; `lift` more in the new variant."""
    tree = {
        "experiment": [{"name": "x", "variant": [{"name": "old"}, {"name": "new", "surface": "b", "interleave": True}]}]
    }
    experiments = Experiments.parse(tree, ["b"])
    draw = rng(5, "log")
    served, events = [], []
    for i, user in enumerate(USERS[:4000]):
        (one,) = experiments.assigned(user)
        if broken and one.variant.name == "new" and draw.random() < 0.2:
            continue
        for j in range(2):
            new = one.variant.name == "new"
            request: dict[str, Any] = {"teams": "ab"} if new else {}
            answer = Served(
                f"r{i}.{j}",
                "default",
                "bundle",
                one.label,
                user,
                1000 * j,
                0,
                request,
                ["i", "j"],
                [1.0, 0.5],
                ["s", "s"],
                [1.0, 1.0],
            )
            served.append(answer)
            if draw.random() < 0.2 + lift * new:
                item = "j" if draw.random() < wins else "i"
                events.append(Events([user], [item], ["click"], [1000 * j + 5], [None], {}, [answer.request_id], [1]))
    events.append(Events(["somebody"], ["i"], ["click"], [5], [None], {}, ["another request"], [1]))
    return report(experiments.experiments["x"], served, events, ["click"], window="1h", now=10_000)


def test_a_report_finds_what_is_there() -> None:
    found = world(lift=0.1, wins=0.7)
    assert found.sound
    assert found.arms["old"].users + found.arms["new"].users == 4000
    assert found.arms["old"].mean == pytest.approx(0.4, abs=0.05)
    assert found.differences["new"].low > 0
    assert found.differences["new"].value == pytest.approx(0.2, abs=0.06)
    assert found.drafts["new"].low > 0


def test_a_report_finds_nothing_where_nothing_is() -> None:
    found = world(lift=0.0)
    assert found.differences["new"].low < 0 < found.differences["new"].high
    assert found.drafts["new"].low < 0 < found.drafts["new"].high


def test_a_report_says_when_the_split_is_wrong() -> None:
    found = world(lift=0.0, broken=True)
    assert not found.sound
    assert found.mismatch < 0.001


def test_users_whose_window_is_open_do_not_count_yet() -> None:
    tree = {"experiment": [{"name": "x", "variant": [{"name": "old"}, {"name": "new"}]}]}
    one = Experiments.parse(tree, []).experiments["x"]

    def answer(user: str, variant: str, time: int) -> Served:
        return Served(f"{user}{variant}{time}", "s", "b", f"x:{variant}", user, time, 0, {}, ["i"], [1.0], ["s"], [1.0])

    served = [answer("u", "old", 0), answer("v", "old", 5000), answer("w", "old", 0), answer("w", "new", 10)]
    clicks = [
        Events(["u"], ["i"], ["click"], [3700], [None], {}, ["uold0"], []),
        Events(["u"], ["i"], ["click"], [10], [None], {}, ["uold0"], []),
    ]
    found = report(one, served, clicks, ["click"], window="1h", now=8000)
    assert (found.arms["old"].users, found.arms["old"].complete, found.arms["old"].mean) == (3, 1, 1.0)
    assert found.arms["new"].complete == 0
