"""What a service is started with: handed from the command to its workers as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from shortlist.core.errors import ConfigError
from shortlist.serve.eventlog.open import folder_of

CLOCKS = ("auto", "wall", "log")


@dataclass
class Settings:
    """surfaces: bundle folders by the name of the surface; the first is what requests get that name none. log: its address.
    folder: where snapshots and traces are kept. The rest: see `shortlist serve --help`."""

    surfaces: dict[str, str]
    log: str
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    folder: str = ""
    clock: str = "auto"
    waiting: int = 64  # requests that may wait in a worker
    patience: float = 1.0  # seconds that a request may wait
    body: int = 2_000_000  # bytes of a request's body
    unwritten: int = 10_000  # entries that may wait for the log in a worker
    warm: int = 64  # requests that are replayed before a worker is ready
    keys: str = ""  # the file of API keys; empty = nobody is asked for one
    experiments: str = ""  # the file of experiments; empty = none
    admin: int = 0  # port of the admin interface; 0 = none
    admin_host: str = "127.0.0.1"
    snapshot: float = 30.0  # seconds between two looks at whether a snapshot is due
    entries: int = 1000  # of the log since the last snapshot that make one due
    verify: bool = True
    after: dict[str, int] = field(default_factory=dict)  # by surface: entries up to it are in the bundle's data

    def __post_init__(self) -> None:
        if self.clock not in CLOCKS:
            raise ConfigError(f"clock: {self.clock!r} is not a choice; choices: {', '.join(CLOCKS)}")
        self.folder = self.folder or str(folder_of(self.log))

    @property
    def place(self) -> Path:
        """The folder of snapshots and traces."""
        return Path(self.folder)

    def text(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str) -> Settings:
        """From JSON."""
        made: dict[str, Any] = json.loads(text)
        return cls(**made)
