"""A small JSON file that several processes read and change in turn: written whole or not at all, readable by its owner only."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shortlist.core.errors import ConfigError


class Shared:
    """look: seconds between two looks whether the file has changed."""

    def __init__(self, path: Path, look: float = 1.0) -> None:
        self.path, self.look = path, look
        self._held: dict[str, Any] = {}
        self._stamp: tuple[int, int, int] | None = None
        self._looked = -float("inf")

    def read(self, fresh: bool = False) -> dict[str, Any]:
        """What the file holds, {} where there is none. The same object until the file changes. fresh: look now. ConfigError for a
        damaged file; its content is in no message."""
        now = time.monotonic()
        if fresh or now - self._looked >= self.look:
            self._looked = now
            try:
                about = self.path.stat()
            except FileNotFoundError:
                self._held, self._stamp = {}, None
                return self._held
            stamp = (about.st_mtime_ns, about.st_size, about.st_ino)
            if stamp != self._stamp:
                self._held, self._stamp = {}, None
                self._held = self._load()
                self._stamp = stamp
        return self._held

    def _load(self) -> dict[str, Any]:
        try:
            told = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise ConfigError(f"{self.path}: not readable: {type(error).__name__}") from None
        if not isinstance(told, dict):
            raise ConfigError(f"{self.path}: not readable: no table")
        return told

    @contextmanager
    def changing(self) -> Iterator[dict[str, Any]]:
        """The content to be changed in place; written when the block ends well. One process after another."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_name(f".{self.path.name}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            content = self._load()
            yield content
            handle, draft = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    json.dump(content, file, indent=1)
                    file.flush()
                    os.fsync(file.fileno())
                Path(draft).replace(self.path)
            finally:
                Path(draft).unlink(missing_ok=True)
        self._looked = -float("inf")
