"""What is installed, what is missing and how to get it, and whether the machine can run Shortlist."""

import importlib
import importlib.util
import os
import platform
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import typer

from shortlist import __version__
from shortlist.cli.options import Json
from shortlist.cli.output import as_json, say, table

NEEDED = ("numpy", "numba", "scipy", "polars", "pyarrow", "catboost", "typer", "rich", "matplotlib")
EXTRAS = {
    "serve": ("fastapi", "uvicorn", "msgspec"),
    "neural": ("torch",),
    "ray": ("ray",),
    "text": ("sentence_transformers",),
    "ann": ("faiss-cpu",),
    "dev": ("pytest", "hypothesis", "mypy", "ruff"),
}


def run(json: Json = False) -> None:
    """Look around and report. Exit code 2 when something that is needed does not work."""
    found = examine()
    if json:
        as_json(found)
    else:
        show(found)
    if found["problems"]:
        raise typer.Exit(2)


def examine() -> dict[str, Any]:
    """Everything that the report says."""
    versions = {name: version(name) for name in NEEDED}
    problems = [f"{name} is not installed: pip install shortlist" for name, found in versions.items() if found is None]
    kernel = self_test(compiled)
    if kernel != "ok":
        problems.append(f"numba cannot compile: {kernel}")
    return {
        "shortlist": __version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": memory_gb(),
        "packages": versions,
        "extras": {name: extra(name, packages) for name, packages in EXTRAS.items()},
        "numba": kernel,
        "data": data_folder(),
        "problems": problems,
    }


def version(package: str) -> str | None:
    """The installed version of a package, None when it is not there."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def extra(name: str, packages: tuple[str, ...]) -> dict[str, Any]:
    """Is an optional part complete, and if not, the command that brings it."""
    missing = [package for package in packages if version(package) is None]
    get = f"pip install 'shortlist[{name}]'" if missing else ""
    return {"present": not missing, "missing": missing, "get": get}


def memory_gb() -> float | None:
    """Memory of the machine, where the system says it."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def self_test(kernel: Callable[[], int]) -> str:
    """`ok`, or why not. Anything at all may go wrong inside a broken compiler, so everything is caught here."""
    try:
        result = kernel()
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    return "ok" if result == 45 else f"a compiled sum is {result} instead of 45"


def compiled() -> int:
    """Compile and run a small loop: the sum of 0 to 9."""
    if importlib.util.find_spec("numba") is None:
        raise ModuleNotFoundError("numba is not installed")
    numba = importlib.import_module("numba")

    def add(count: int) -> int:
        total = 0
        for i in range(count):
            total += i
        return total

    return int(numba.njit(add)(10))


def data_folder() -> str | None:
    """The folder of real data for tests and benchmarks: SHORTLIST_DATA, when it is there."""
    named = os.environ.get("SHORTLIST_DATA", "")
    return named if named and Path(named).is_dir() else None


def show(found: dict[str, Any]) -> None:
    """The report, for a person."""
    say(f"shortlist {found['shortlist']}, Python {found['python']} ({found['executable']})")
    say(f"{found['platform']}; {found['cores']} cores, {found['memory_gb'] or '?'} GB memory")
    say()
    table([{"package": name, "version": entry or "MISSING"} for name, entry in found["packages"].items()])
    say()
    rows = []
    for name, entry in found["extras"].items():
        state = "present" if entry["present"] else f"missing {', '.join(entry['missing'])}"
        rows.append({"optional": name, "state": state, "get it": entry["get"]})
    table(rows)
    say()
    say(f"compiler: {found['numba']}")
    say(
        f"data for tests (SHORTLIST_DATA): {found['data'] or 'not set, or not a folder; tests on real data are skipped'}"
    )
    for problem in found["problems"]:
        say(f"PROBLEM: {problem}")
