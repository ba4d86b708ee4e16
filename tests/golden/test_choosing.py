"""Options of the benches are chosen without a look at what they are judged by."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from bench import anchors
from bench.protocol.sequential import ASKED, Beauty, SequentialRow
from bench.retrieval import ENOUGH, Choice, apart
from shortlist.core.contracts import silent
from shortlist.data.dataset import encode
from shortlist.data.schema import Tables
from shortlist.retrieve.ease import Ease


def sequences(folder: Path, seed: int, last: int) -> None:
    """Thirty users, eight items each of twelve. last: seed of everybody's last item, which is none of the others."""
    draw, final = np.random.default_rng(seed), np.random.default_rng(last)
    rows = []
    for user in range(30):
        own = draw.permutation(12)
        for position, item in enumerate([*own[:7], final.choice(own[7:])]):
            rows.append((user, int(item), position))
    (folder / Beauty.SET).mkdir(parents=True, exist_ok=True)
    table = pl.DataFrame(rows, schema=["user_id", "item_id", "position"], orient="row")
    table.write_parquet(folder / Beauty.SET / "interactions.parquet")


def test_the_last_item_decides_nothing(tmp_path: Path) -> None:
    row = SequentialRow("ease", Ease(), choices={"reg": (0.5, 50.0), "decay": (1.0, 0.5)})
    figures = []
    for last in (1, 2):
        sequences(tmp_path, 0, last)
        protocol = Beauty(tmp_path, silent, tmp_path)
        chosen = list(protocol.choose(row))
        figures.append(chosen)
        assert [options for options, _ in chosen] == [
            {"reg": reg, "decay": decay} for reg in (0.5, 50.0) for decay in (1.0, 0.5)
        ]
        assert len({tuple(got.values()) for _, got in chosen}) > 1  # the options make a difference
    assert figures[0] == figures[1]
    assert {"decay"} <= ASKED


def test_choices_of_a_request_are_tried_on_one_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And give what a fit of their own gives."""
    sequences(tmp_path, 0, 1)
    protocol, fits, fit = Beauty(tmp_path, silent, tmp_path), [], Ease.fit

    def counted(self: Ease, *arguments: Any) -> None:
        fits.append(self.reg)
        fit(self, *arguments)

    monkeypatch.setattr(Ease, "fit", counted)
    both = {
        options["decay"]: got
        for options, got in protocol.choose(SequentialRow("", Ease(), choices={"decay": (1.0, 0.5)}))
    }
    assert len(fits) == 1
    [(_, alone)] = protocol.choose(SequentialRow("", Ease(decay=0.5), choices={"reg": (500.0,)}))
    assert both[0.5] == alone


def test_fewest_passes_that_are_enough() -> None:
    asked: list[dict[str, Any]] = []

    def measure(options: dict[str, Any]) -> float:
        asked.append(options)
        return (0.2 if options["reg"] == 3 else 0.1) * {8: 1.0, 4: ENOUGH, 2: 0.9, 1: 1.0}[options["epochs"]]

    assert Choice({"reg": (1, 3, 9)}, "epochs", (8, 4, 2, 1)).best(measure) == {"reg": 3, "epochs": 4}
    assert [options["epochs"] for options in asked] == [8, 8, 8, 4, 2]


def test_cut_apart() -> None:
    """globo: the newest of everybody with five or more."""
    events = [(user, item, 10 * item) for user, count in (("a", 6), ("b", 4)) for item in range(count)]
    frame = pl.DataFrame(events, schema=["user_id", "item_id", "time"], orient="row")
    log = encode(Tables(frame, None, name="", default_kind="click")).log
    known, later, now = apart(log, "globo")
    assert (len(known), later.item.tolist(), now) == (9, [5], 51)
    known, later, _ = apart(known, "globo")
    assert (len(known), later.item.tolist()) == (8, [4])


def test_json_lines_come_one_by_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What a broken run has printed is whole."""

    def broken(only: Any, extra: Any, progress: Any, tell: Any) -> None:
        tell({"row": "one", "ok": True})
        raise KeyboardInterrupt

    monkeypatch.setattr(anchors, "run", broken)
    monkeypatch.setattr(anchors, "data_folder", Path)
    monkeypatch.setattr(sys, "argv", ["anchors", "--json"])
    with pytest.raises(KeyboardInterrupt):
        anchors.main()
    assert json.loads(capsys.readouterr().out) == {"row": "one", "ok": True}
