"""The keeper: a process beside the workers that folds the log as they do and writes snapshots, so that none of them ever stops for it.

`python -m shortlist.serve.keeper`, started by `run`, with the settings on stdin."""

from __future__ import annotations

import logging
import os
import select
import sys
import time
from contextlib import suppress

from shortlist.core.errors import ShortlistError
from shortlist.serve.service import Service
from shortlist.serve.settings import Settings

LOGGER = logging.getLogger("shortlist.serve")


def keep(settings: Settings, leash: int) -> None:
    """Write a snapshot of every engine now and then, until the parent ends. leash: a pipe that closes when it does."""
    service = Service.open(settings)
    service.attach()
    written = service.saved
    while not select.select([leash], [], [], settings.snapshot)[0]:
        for name, engine in service.engines.items():
            # Whatever the log or the disk refuses, the snapshots that are there stay, and it is tried again.
            try:
                engine.catch_up()
                if engine.outdated:
                    service.renew()()
                if engine.position - written[name] >= settings.entries:
                    engine.snapshot(settings.place)
                    written[name] = engine.position
            except ShortlistError as error:
                LOGGER.warning("no snapshot: %s", error)
                time.sleep(1)
    service.close()


def main() -> None:
    """The leash's descriptor as an argument."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    with suppress(OSError):
        os.nice(10)
    keep(Settings.of(sys.stdin.read()), int(sys.argv[1]))


if __name__ == "__main__":
    main()
