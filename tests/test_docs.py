"""The documentation is true: examples run, the reference is up to date, nothing is without a page, links lead somewhere."""

import dataclasses
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from shortlist.cli import main, reference
from shortlist.core.component import KINDS, names
from shortlist.pipeline import config

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
CONTRACTS = ("source", "filter", "feature", "ranker", "rule", "fold", "metrics")


def blocks(page: Path, language: str) -> list[str]:
    """The fenced code blocks of a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
def test_examples_run(page: Path, tmp_path: Path) -> None:
    """All blocks of a page in turn, in a process of their own, as a reader would."""
    code = "\n\n".join(blocks(page, "python"))
    script = tmp_path / "example.py"
    script.write_text(code, encoding="utf-8")
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    command = [sys.executable, "-W", "error", str(script)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_contract_page_has_an_example() -> None:
    for name in CONTRACTS:
        assert blocks(ROOT / "docs" / f"{name}.md", "python"), f"docs/{name}.md has no example"


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "toml")], ids=lambda page: page.name)
def test_recipes_in_pages_are_valid(page: Path) -> None:
    for block in blocks(page, "toml"):
        tree: dict[str, Any] = tomllib.loads(block)
        foreign = [entry for entry in tree.get("source", []) if "." in entry["type"]]
        if not foreign:
            config.parse(tree, page.name)


def test_the_reference_is_up_to_date() -> None:
    written = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert written == reference.page(), "docs/reference.md is out of date: run `make docs`"


def test_the_reference_names_every_part_and_option() -> None:
    text = reference.page()
    for kind in KINDS:
        for name in names(kind):
            assert f"### {name}\n" in text
    for field in dataclasses.fields(config.Recipe):
        assert field.name in text or f"{field.name.removesuffix('s')}" in text


def test_the_readme_names_every_part() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if line.startswith("|"))
    for kind in KINDS:
        for name in names(kind):
            assert re.search(rf"\b{name}\b", text), f"README.md does not name {kind} {name}"


def test_every_command_is_described() -> None:
    commands = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    for name in main.COMMANDS:
        assert f"## shortlist {name}\n" in commands


def test_every_file_of_a_run_is_described() -> None:
    commands = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    for name in (
        "metrics.json",
        "funnel.json",
        "requests.parquet",
        "recommendations.parquet",
        "details.json",
        "recipe.json",
    ):
        assert f"`{name}`" in commands


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}, which does not exist"


def test_tests_that_pages_name_are_there() -> None:
    there = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    for page in PAGES:
        for name in re.findall(r"`(test_\w+)`", page.read_text(encoding="utf-8")):
            assert name in there, f"{page.name} names {name}, which is no test"
        for name in re.findall(r"`(tests/\S+\.py)`", page.read_text(encoding="utf-8")):
            assert (ROOT / name).exists(), f"{page.name} names {name}, which is not there"


def test_pages_are_reachable_from_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "index.md" or f"({page.name})" in index, f"docs/index.md does not lead to {page.name}"
