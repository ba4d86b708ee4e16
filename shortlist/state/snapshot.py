"""Snapshots of a running service: the state and the catalogue that has grown with it, so that a restart needs only the tail of the
log. Each is a folder that appears whole or not at all, named by the log position it stands at; the newest whole one is in force."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from shortlist.core.errors import BundleError
from shortlist.core.files import whole_folder
from shortlist.data.catalogue import Catalogue
from shortlist.state.state import State

MARKER = "snapshot"
NAME = re.compile(r"^at-(\d{15})$")


def save(state: State, root: Path, keep: int = 2) -> Path:
    """Write the state and its catalogue below `root` and return the folder; older ones but the newest `keep` go, and so does what a
    killed writer left behind. One writer at a time. BundleError when the disk refuses: the snapshots that were there stay."""
    folder = root / f"at-{state.count:015d}"
    with whole_folder(folder, MARKER) as made:
        state.catalogue.save(made / "catalogue")
        state.snapshot(made / "state")
        (made / MARKER).write_text(f"{state.count}\n")
    for old in _listed(root)[keep:]:
        shutil.rmtree(old, ignore_errors=True)
    for left in root.glob(".at-*"):
        shutil.rmtree(left, ignore_errors=True)
    return folder


def newest(root: Path) -> Path | None:
    """The snapshot in force, None where there is none yet."""
    return next(iter(_listed(root)), None)


def load(folder: Path) -> State:
    """The state of a snapshot, on its own catalogue; `state.count` is the log position from which the tail must be folded in.
    BundleError for a folder that is no snapshot, or damaged."""
    if not (folder / MARKER).is_file():
        raise BundleError(f"{folder}: is not a snapshot: no file {MARKER!r}")
    try:
        catalogue = Catalogue.load(folder / "catalogue")
    except (OSError, ValueError, KeyError) as error:
        raise BundleError(f"{folder}: cannot be loaded: {error}") from None
    return State.load(folder / "state", catalogue)


def _listed(root: Path) -> list[Path]:
    """Whole snapshots, newest first."""
    if not root.is_dir():
        return []
    found = [path for path in root.iterdir() if NAME.match(path.name) and (path / MARKER).is_file()]
    return sorted(found, key=lambda path: path.name, reverse=True)
