import json
import sys
from pathlib import Path

import pytest

from shortlist.core.errors import MissingExtra, ShortlistError, choices
from shortlist.core.extras import need


def test_need_gives_the_module() -> None:
    assert need("json", "none", "this test") is json


def test_a_missing_package_is_named_with_reason_and_command() -> None:
    with pytest.raises(MissingExtra) as caught:
        need("no_such_package", "neural", "retrieve part 'sasrec'")
    assert str(caught.value) == (
        "retrieve part 'sasrec' needs the package 'no_such_package', which is not installed: "
        "pip install 'shortlist[neural]'"
    )
    assert isinstance(caught.value, ShortlistError)


def test_a_package_that_breaks_inside_says_so_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing import deep inside an installed package is not that package missing."""
    (tmp_path / "half_there.py").write_text("import not_there_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all"):
        need("half_there", "neural", "this test")
    assert "half_there" not in sys.modules


def test_choices_are_listed_and_cut() -> None:
    assert choices([]) == "none"
    assert choices(["a", 2]) == "a, 2"
    assert choices(range(5), limit=3) == "0, 1, 2, and 2 more"
    assert choices(range(30)).endswith("28, 29")
