"""Experiments in a running service: who answers whom, what is logged, and drafts of two surfaces."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shortlist.cli import main
from shortlist.serve import entry
from shortlist.serve.entry import Events
from shortlist.serve.eventlog.codec import decode, encode
from shortlist.serve.eventlog.contract import Entry
from shortlist.serve.experiments import report
from shortlist.serve.service import Service
from shortlist.serve.settings import Settings
from tests.serve.test_swap import USERS, other

__all__ = ["other"]

FILE = """
[[experiment]]
name = "rank"
layer = "a"
[[experiment.variant]]
name = "old"
[[experiment.variant]]
name = "new"
surface = "b"

[[experiment]]
name = "draft"
layer = "b"
share = 0.5
[[experiment.variant]]
name = "none"
[[experiment.variant]]
name = "both"
"""


def service(shop: Path, second: Path, folder: Path, text: str) -> Service:
    """Two surfaces and a file of experiments."""
    (folder / "experiments.toml").write_text(text)
    settings = Settings(
        {"a": str(shop), "b": str(second)}, f"sqlite:{folder / 'events.log'}", verify=False, warm=2,
        experiments=str(folder / "experiments.toml"),
    )  # fmt: skip
    made = Service.open(settings)
    made.start()
    return made


def test_variants_answer_and_are_logged(shop: Path, other: Path, tmp_path: Path) -> None:
    made = service(shop, other, tmp_path, FILE)
    names = {surface: engine.name for surface, engine in made.engines.items()}
    answers = {user: made.recommend({"user_id": user}) for user in USERS}
    for user, answer in answers.items():
        labels = answer["variant"].split(",")
        assert answer["bundle"] == names["b" if "rank:new" in labels else "a"]
        assert made.recommend({"user_id": user})["variant"] == answer["variant"]
    assert {label for answer in answers.values() for label in answer["variant"].split(",")} >= {
        "rank:old",
        "rank:new",
        "draft:both",
    }
    assert made.recommend({})["variant"] == ""
    made.writer.flush()
    served = [decode(stored) for stored in made.log.read(0, 1000, (entry.SERVED,))]
    assert {one.variant for one in served if one.user_id == USERS[0]} == {answers[USERS[0]]["variant"]}
    found = report(made.experiments.experiments["rank"], served, [], ["click"], now=2**40)
    assert found.arms["old"].users + found.arms["new"].users == len(USERS)
    made.close()


def test_a_draft_of_two_surfaces(shop: Path, other: Path, tmp_path: Path) -> None:
    """Every item is from one of the lists, none twice; the log says whose it was."""
    text = FILE.replace('surface = "b"', 'surface = "b"\ninterleave = true')
    made = service(shop, other, tmp_path, text)
    one, two = made.engines.values()
    drafted = 0
    for user in USERS:
        answer = made.recommend({"user_id": user, "k": 6})
        if "rank:new" not in answer["variant"]:
            continue
        drafted += 1
        ids = [item["item_id"] for item in answer["items"]]
        assert len(set(ids)) == len(ids) == 6
        made.writer.flush()
        stored = made.log.find(answer["request_id"])
        assert stored is not None
        content = decode(stored)
        teams = content.request["teams"]
        assert content.items == ids
        assert sorted(teams) in (["a"] * 3 + ["b"] * 3,)
        at = {"user_id": user, "k": 6, "time": answer["time"]}
        lists = {"a": one.recommend(at)["items"], "b": two.recommend(at)["items"]}
        for item, team in zip(ids, teams, strict=True):
            assert item in [each["item_id"] for each in lists[team]]
        assert content.bundle == answer["bundle"] == f"{one.name}+{two.name}"
    assert drafted > 3
    made.close()


def test_the_command(shop: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It reads the log of a service that has stopped."""
    made = service(shop, other, tmp_path, FILE)
    for user in USERS:
        answer = made.recommend({"user_id": user})
        content = made.told(
            Events(
                [user], [answer["items"][0]["item_id"]], ["click"], [answer["time"]], [None], {}, [answer["request_id"]]
            )
        )
        made.append(Entry(entry.EVENTS, encode(content)))
    made.close()
    log, file = f"sqlite:{tmp_path / 'events.log'}", str(tmp_path / "experiments.toml")
    for now in ("2100-01-01", "1971-01-01"):
        assert main.run(["experiments", file, "--log", log, "--event", "click", "--now", now, "--json"]) == 0
        told = json.loads(capsys.readouterr().out)[0]
        assert sum(arm["users"] for arm in told["variants"].values()) == len(USERS)
        assert sum(arm["complete"] for arm in told["variants"].values()) == (len(USERS) if now > "2000" else 0)
    assert main.run(["experiments", file, "--log", log, "--event", "click", "--now", "2100-01-01"]) == 0
    assert "rank:new" in capsys.readouterr().out
    assert main.run(["experiments", file, "--log", "sqlite:/no/such.log", "--event", "click"]) == 2
    assert "no such log" in capsys.readouterr().err
