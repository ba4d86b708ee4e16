"""Output: JSON that every reader accepts, tables that do not wrap in a pipe."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from shortlist.cli import output


def test_plain_values_of_every_kind() -> None:
    value = {
        "numbers": (np.int32(3), np.float32(0.5), np.array([1.0, np.nan])),
        "odd": [math.inf, math.nan, None, True],
        1: Path("a/b"),
    }
    expected = {"numbers": [3, 0.5, [1.0, None]], "odd": [None, None, None, True], "1": "a/b"}
    assert output.plain(value) == expected


def test_json_is_all_of_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    output.as_json({"wörd": float("nan")})
    output.note("a remark")
    out, err = capsys.readouterr()
    assert json.loads(out) == {"wörd": None}
    assert err == "a remark\n"


def test_a_table_keeps_its_rows_whole(capsys: pytest.CaptureFixture[str]) -> None:
    output.table([{"name": "x" * 100, "count": 12345, "value": 0.125, "none": None}], "Title")
    out = capsys.readouterr().out
    assert out.splitlines()[0].startswith("Title")
    assert "x" * 100 in out
    assert "12,345" in out
    assert "0.1250" in out


def test_no_rows_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    output.table([])
    assert capsys.readouterr().out == ""


def test_marks_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    output.say("source[0]: [bold]not bold[/bold] " + "y" * 300)
    assert capsys.readouterr().out == "source[0]: [bold]not bold[/bold] " + "y" * 300 + "\n"
