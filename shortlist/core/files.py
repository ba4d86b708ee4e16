"""Folders that appear whole or not at all: written under a temporary name beside the target, then renamed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shortlist.core.errors import BundleError


@contextmanager
def whole_folder(target: Path, marker: str) -> Iterator[Path]:
    """A temporary folder to write into; it becomes `target` when the block ends well and vanishes when it does not.

    marker: a file that only folders of this kind hold. An existing target is replaced only when it holds one, or is empty:
    a mistyped --out never destroys anything. BundleError otherwise, and when the disk refuses.
    """
    target = target.absolute()
    refuse_others(target, marker)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        made.chmod(0o755)
    except OSError as error:
        raise BundleError(f"{target}: cannot be written: {error.strerror}") from None
    try:
        yield made
        _replace(made, target)
    except OSError as error:
        raise BundleError(f"{target}: cannot be written: {error.strerror or error}; nothing was left behind") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)


def refuse_others(target: Path, marker: str) -> None:
    """BundleError when a folder of this kind may not be written here: a file, or a folder with other things in it. Asked before
    long work, too, so that it is not done in vain."""
    if target.exists() and not target.is_dir():
        raise BundleError(f"{target}: is a file; give the name of a folder")
    if target.is_dir() and any(target.iterdir()) and not (target / marker).exists():
        raise BundleError(f"{target}: is a folder with other things in it (no {marker}); give a new name")


def _replace(made: Path, target: Path) -> None:
    """Rename into place; an old folder steps aside first and is removed last, so that there is always a whole one."""
    for path in made.rglob("*"):
        if path.is_file():
            with path.open("rb") as handle:
                os.fsync(handle.fileno())
    if not target.exists():
        made.rename(target)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
    aside.rmdir()
    target.rename(aside)
    try:
        made.rename(target)
    except OSError:
        aside.rename(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)
