"""A pruned log: whoever may start on it starts as before, whoever may not is told, and what must outlive it does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shortlist.cli import main
from shortlist.core.errors import ConfigError
from shortlist.data.dataset import encode
from shortlist.data.synthetic import world
from shortlist.experiment.fit import fit
from shortlist.pipeline.config import parse
from shortlist.serve import entry
from shortlist.serve.eventlog.codec import encode as packed
from shortlist.serve.eventlog.contract import Entry
from shortlist.serve.eventlog.open import open_log
from shortlist.serve.parity_log import parity_log
from shortlist.serve.prune import pruned
from shortlist.serve.service import Service
from shortlist.state.snapshot import digest
from tests.serve.conftest import SHOP
from tests.serve.live import opened
from tests.serve.test_eventlog import address, redis

__all__ = ["address", "redis"]
GONE = "i00088"


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another bundle."""
    folder = tmp_path_factory.mktemp("prune") / "newer"
    tree = {**SHOP, "source": [{"type": "popular", "quota": 30}], "feature": [], "ranker": [], "title": "newer"}
    fit(parse(tree), encode(world(0, users=80, items=100, days=8).tables)).save(folder)
    return folder


def clicks(service: Service, first: int, last: int) -> None:
    """Answers, and a click on each, under keys."""
    engine = service.engine(None)
    for i in range(first, last):
        user = f"u{i:05}"
        shown = service.recommend({"user_id": user, "k": 3})["items"]
        engine.track([{"user_id": user, "item_id": shown[0]["item_id"], "event": "click"}], key=f"k{i}")


def test_a_pruned_log(
    shop: Path, newer: Path, address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place: dict[str, Any] = {"folder": str(tmp_path / "place")}
    service = opened(shop, address, **place)
    clicks(service, 0, 20)
    service.append(Entry(entry.ITEMS_GONE, packed(entry.Gone([GONE], service.now()))))
    service.writer.flush()
    upto = service.log.last()
    service.close()
    for bundle in (shop, newer):
        assert main.run(["data", "prune", str(bundle), "--log", address]) == 2
        assert "serve it with --after first" in capsys.readouterr().err
    after = opened(newer, address, after={"default": upto}, **place)
    clicks(after, 20, 30)
    after.writer.flush()
    before = state(after)
    after.close()

    assert main.run(["data", "prune", str(newer), "--log", address]) == 0
    assert f"40 entries up to position {upto} are cleared" in capsys.readouterr().out
    assert main.run(["data", "prune", str(newer), "--log", address]) == 0
    assert "0 entries" in capsys.readouterr().out
    again = opened(newer, address, **place)
    assert state(again) == before
    assert again.engine(None).track([{"user_id": "u00003", "item_id": "i00001", "event": "click"}], key="k3") == 0
    left_out = again.engine(None).rank({"items": [GONE]})["left_out"]
    assert left_out == [{"item_id": GONE, "reason": "filtered by the request"}]
    again.writer.flush()
    again.close()
    told = parity_log(newer, address)
    assert (told.differences, told.requests) == (0, 11)  # ten and the one of `rank`
    with pytest.raises(ConfigError, match=f"needs the log from position 0 on, and it was pruned up to {upto}"):
        opened(shop, address, folder=str(tmp_path / "elsewhere"))
    with pytest.raises(ConfigError, match="pruned up to"):
        parity_log(shop, address)
    assert main.run(["data", "export", "--log", address, "--out", str(tmp_path / "out")]) == 0
    assert f"pruned up to position {upto}: what came before is not here" in capsys.readouterr().out


def state(service: Service) -> tuple[int, str]:
    """Where its engine is, and all that it holds."""
    engine = service.engine(None)
    engine.catch_up()
    return engine.position, digest(engine.state)


def test_an_old_snapshot_does_not_help(shop: Path, tmp_path: Path) -> None:
    """One from before the position is no beginning either; one from after it is."""
    log = f"sqlite:{tmp_path / 'events.log'}"
    service = opened(shop, log)
    clicks(service, 0, 5)
    engine = service.engine(None)
    engine.catch_up()
    early = engine.position
    engine.snapshot(service.settings.place)
    service.log.note("pruned", str(early))
    clicks(service, 5, 6)
    service.writer.flush()
    service.close()
    opened(shop, log).close()
    held = open_log(log)
    held.note("pruned", str(early + 1))
    assert pruned(held) == early + 1
    held.close()
    with pytest.raises(ConfigError, match=f"from position {early} on"):
        opened(shop, log)


def test_words_of_a_log(address: str) -> None:
    """Made once, or noted anew, and there after opening again; asking for one makes none."""
    held = open_log(address)
    assert held.meta("one") == ""
    assert held.meta("one", lambda: "a") == held.meta("one", lambda: "b") == held.meta("one") == "a"
    held.note("one", "c")
    held.note("two", "d")
    held.close()
    held = open_log(address)
    assert (held.meta("one", lambda: "x"), held.meta("two")) == ("c", "d")
    held.close()
