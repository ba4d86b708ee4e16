"""Snapshots of a running service: the state and the catalogue that has grown with it, so that a restart needs only the tail of the
log. Each is a folder that appears whole or not at all, named by the log position it stands at; the newest whole one is in force."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

import numpy as np

from shortlist.core.errors import BundleError
from shortlist.core.files import whole_folder
from shortlist.data.catalogue import Catalogue
from shortlist.data.vocabulary import Vocabulary
from shortlist.state.state import State

MARKER = "snapshot"
NAME = re.compile(r"^at-(\d{15})$")


def save(state: State, root: Path, keep: int = 2, position: int | None = None) -> Path:
    """Write the state and its catalogue below `root` and return the folder; older ones but the newest `keep` go, and so does what a
    killed writer left behind. position: where in the log it stands; by default how many events it has folded in. One writer at a
    time. BundleError when the disk refuses: the snapshots that were there stay."""
    position = state.count if position is None else position
    folder = root / f"at-{position:015d}"
    for left in root.glob(".at-*"):  # first: on a full disk it is the room that is wanted
        shutil.rmtree(left, ignore_errors=True)
    with whole_folder(folder, MARKER) as made:
        state.catalogue.save(made / "catalogue")
        state.snapshot(made / "state")
        (made / MARKER).write_text(f"{position}\n")
    for old in listed(root)[keep:]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def position(folder: Path) -> int:
    """The log position that a snapshot stands at. BundleError for a folder that is none."""
    try:
        return int((folder / MARKER).read_text())
    except (OSError, ValueError):
        raise BundleError(f"{folder}: is not a snapshot: no readable file {MARKER!r}") from None


def digest(state: State) -> str:
    """32 hex digits of all that a state and its catalogue hold: equal for equal bits, whoever folded them in, in whatever pieces."""
    made = hashlib.blake2b(digest_size=16)
    made.update(json.dumps(state.standing(), sort_keys=True).encode())
    for name, array in sorted(state.arrays().items()):
        made.update(f"{name} {array.dtype.str} {array.shape}".encode())
        made.update(np.ascontiguousarray(array).data)
    for title, table in (("items", state.catalogue.items), ("users", state.catalogue.users)):
        made.update(
            f"{title} {len(table)} {table.listed} {np.flatnonzero(table.gone).tolist() if table.gone is not None else []}".encode()
        )
        _words(made, table.ids)
        for name, column in sorted(table.columns.items()):
            size = len(table) + (
                1 if column.kind == "tags" else 0
            )  # beyond it there is room, and how much depends on the pieces
            made.update(f"{name} {column.kind}".encode())
            made.update(np.ascontiguousarray(column.values[:size]).data)
            if column.codes is not None:
                made.update(np.ascontiguousarray(column.codes).data)
            if column.vocabulary is not None:
                _words(made, column.vocabulary)
    for name, vocabulary in sorted(state.catalogue.context.items()):
        made.update(name.encode())
        _words(made, vocabulary)
    return made.hexdigest()


def _words(made: hashlib.blake2b, vocabulary: Vocabulary) -> None:
    made.update(f"{len(vocabulary)} {vocabulary.is_text}".encode())
    made.update("\n".join(map(str, vocabulary.series().to_list())).encode("utf-8", "surrogatepass"))


def newest(root: Path) -> Path | None:
    """The snapshot in force, None where there is none yet."""
    return next(iter(listed(root)), None)


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


def listed(root: Path) -> list[Path]:
    """Whole snapshots, newest first."""
    if not root.is_dir():
        return []
    found = [path for path in root.iterdir() if NAME.match(path.name) and (path / MARKER).is_file()]
    return sorted(found, key=lambda path: path.name, reverse=True)
