"""`shortlist check`: every violation and warning, the summary, the exit code."""

import json
from pathlib import Path

import polars as pl
import pytest

from shortlist.cli import main


def write(folder: Path, **columns: list[object]) -> None:
    pl.DataFrame(columns).write_csv(folder / "events.csv")


def test_good_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, user_id=[1, 2], item_id=["a", "b"], time=[100, 200], event=["click", "buy"])
    assert main.run(["check", str(tmp_path), "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert err == ""
    assert found["violations"] == []
    assert found["summary"]["events"] == 2
    assert main.run(["check", str(tmp_path)]) == 0
    assert "event click" in capsys.readouterr().out


def test_every_violation_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, user_id=[1.5, 2.5], item_id=["a", "b"], time=[100, None], propensity=[0.5, 7.0])
    assert main.run(["check", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2
    assert "row 1" in out
    assert err == f"shortlist: {tmp_path}: 2 violations of the schema\n"
    assert main.run(["check", str(tmp_path), "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert len(found["violations"]) == 2
    assert found["summary"] is None


def test_a_warning_is_no_violation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, user_id=[1, 1], item_id=["a", "a"], time=[100, 100])
    assert main.run(["check", str(tmp_path)]) == 0
    assert "warning: events: exact duplicate" in capsys.readouterr().out
