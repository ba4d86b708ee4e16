"""The keeper: a process beside the workers that folds the log as they do and writes snapshots, so that none of them ever stops for it.

`python -m shortlist.serve.keeper`, started by `run`, with the settings on stdin."""

from __future__ import annotations

import logging
import os
import select
import sys
import time
from contextlib import suppress
from dataclasses import replace

from shortlist.core.errors import BundleError, ShortlistError
from shortlist.serve.service import Service
from shortlist.serve.settings import Settings
from shortlist.serve.swap import Wishes

LOGGER = logging.getLogger("shortlist.serve")


def keep(settings: Settings, leash: int) -> None:
    """Write a snapshot of every engine now and then, until the parent ends. leash: a pipe that closes when it does."""
    keeper = Keeper(settings)
    while not select.select([leash], [], [], settings.snapshot)[0]:
        keeper.beat()
    keeper.service.close()


class Keeper:
    """The bundles that answer, whichever they are: after a swap, those that were swapped in."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.wishes = settings, Wishes(settings.place)
        self.service, self.written = self._opened(self.wanted() or settings.surfaces)
        self.passed_over: dict[str, str] = {}  # bundles that cannot be opened: not tried again

    def wanted(self) -> dict[str, str]:
        """Folders of the bundles that answer, by surface; none where nobody has said."""
        return {name: wish.active for name, wish in self.wishes.read().items() if name in self.settings.surfaces}

    def beat(self) -> None:
        """Snapshots where they are due. Whatever the log or the disk refuses, those that are there stay, and it is tried again."""
        try:
            self._follow()
        except ShortlistError as error:
            LOGGER.warning("snapshots go on with the bundle of before: %s", error)
        for name, engine in self.service.engines.items():
            try:
                engine.catch_up()
                if engine.outdated:
                    self.service.renew()()
                if engine.position - self.written[name] >= self.settings.entries:
                    engine.snapshot(self.settings.place)
                    self.written[name] = engine.position
            except ShortlistError as error:
                LOGGER.warning("no snapshot: %s", error)
                time.sleep(1)

    def _follow(self) -> None:
        """Another bundle answers: it is its state that a restart will want."""
        wanted = self.wanted()
        if not wanted or wanted in (self.service.settings.surfaces, self.passed_over):
            return
        try:
            fresh, written = self._opened(wanted)
        except BundleError:
            self.passed_over = wanted
            raise
        self.service.close()
        self.service, self.written = fresh, written

    def _opened(self, surfaces: dict[str, str]) -> tuple[Service, dict[str, int]]:
        """A service that answers nobody, along the log; the positions of its newest snapshots."""
        service = Service.open(replace(self.settings, surfaces=surfaces))
        try:
            service.attach()
        except BaseException:
            service.close()
            raise
        return service, service.saved


def main() -> None:
    """The leash's descriptor as an argument."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    with suppress(OSError):
        os.nice(10)
    keep(Settings.of(sys.stdin.read()), int(sys.argv[1]))


if __name__ == "__main__":
    main()
