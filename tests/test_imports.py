"""Imports go one way. The contracts of pyproject.toml are enforced here too, so that no test run is green without them."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import shortlist

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "shortlist").rglob("*.py"))
HOMES = {
    "torch": ("learn/", "retrieve/", "rank/", "feature/"),
    "ray": ("jobs/ray.py",),
    "matplotlib": ("experiment/plot.py",),
    "typer": ("cli/", "testing"),
    "pickle": (),
    "eval": (),
}


def imports(tree: ast.AST) -> list[ast.Import | ast.ImportFrom]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]


def top_names(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [(node.module or "").partition(".")[0]]
    return [alias.name.partition(".")[0] for alias in node.names]


def test_the_layers_are_kept() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_module_imports() -> None:
    for module in pkgutil.walk_packages(shortlist.__path__, "shortlist."):
        importlib.import_module(module.name)


def test_no_import_inside_a_function() -> None:
    for path in FILES:
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                assert not imports(function), (
                    f"{path}: {function.name} imports; use core.extras.need for optional packages"
                )


def test_heavy_packages_stay_at_home() -> None:
    for path in FILES:
        place = path.relative_to(ROOT / "shortlist").as_posix()
        for node in imports(ast.parse(path.read_text(encoding="utf-8"))):
            for name in top_names(node):
                assert name not in HOMES or place.startswith(HOMES[name] or ("nowhere",)), f"{place} imports {name}"


def test_nothing_evaluates_or_unpickles() -> None:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec"), f"{path}:{node.lineno}: {node.func.id}"
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant), (
                    f"{path}:{node.value.lineno}: allow_pickle must be a constant"
                )
                assert node.value.value is False, f"{path}:{node.value.lineno}: allow_pickle must be False"


def test_nothing_names_a_machine() -> None:
    for path in FILES:
        assert "/work/" not in path.read_text(encoding="utf-8"), f"{path} names a path of one machine"
