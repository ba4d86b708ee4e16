"""A service in one process: the engines of its surfaces, their log, its clock, and whether it is ready. Nothing here knows of HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from shortlist.core.errors import ConfigError, DataError, choices
from shortlist.pipeline.bundle import Bundle
from shortlist.serve import cursor, entry, told
from shortlist.serve.ask import EXCLUDED
from shortlist.serve.clock import Clock
from shortlist.serve.engine import Engine
from shortlist.serve.eventlog.codec import decode
from shortlist.serve.eventlog.contract import EventLog, LogError
from shortlist.serve.eventlog.open import open_log
from shortlist.serve.eventlog.writer import Writer
from shortlist.serve.settings import Settings

FUTURE = 86_400  # seconds that an event's time may be ahead: one far ahead would age everything else at a blow
REPLAYED = 20_000  # newest entries of the log among which requests for the warm-up are looked for


class Service:
    """engines: by surface; the first is asked where a request names none."""

    def __init__(self, settings: Settings, log: EventLog, engines: dict[str, Engine], clock: Clock) -> None:
        self.settings, self.log, self.engines, self.clock = settings, log, engines, clock
        self.writer = Writer(log, settings.unwritten)
        self.ready = False
        self.problem = "starting"  # why it is not ready
        self.warmed = 0  # requests replayed

    @classmethod
    def open(cls, settings: Settings) -> Service:
        """Bundles and log of the settings; not caught up yet. ShortlistError for a bundle or log that cannot be opened."""
        log = open_log(settings.log)
        bundles = {name: Bundle.load(Path(folder), settings.verify) for name, folder in settings.surfaces.items()}
        clock = Clock.of(settings.clock, log, max(bundle.state.now for bundle in bundles.values()))
        engines = {name: Engine.of(bundle, clock=clock, surface=name) for name, bundle in bundles.items()}
        return cls(settings, log, engines, clock)

    def start(self) -> None:
        """Catch up with the log, and answer requests as they really were until everything is warm."""
        for engine in self.engines.values():
            engine.protect()
            base = self.log.meta(f"base.{engine.name}", lambda e=engine: str(self.settings.after.get(e.surface, 0)))  # type: ignore[misc]
            engine.follow(self.writer, int(base))
        self.warm()
        self.ready, self.problem = True, ""

    def warm(self) -> None:
        """Replay served requests, or ask for known users where there are none yet: compiled code is loaded, files are read."""
        for engine in self.engines.values():
            writer, engine.writer = engine.writer, None  # these answers are shown to nobody, so they are not logged
            for request in self._requests(engine):
                engine.recommend({**request, "explain": False}, deadline=float("inf"))
                self.warmed += 1
            engine.writer = writer

    def _requests(self, engine: Engine) -> list[dict[str, Any]]:
        """The newest served requests of a surface; known users, the newest and some others, and an unknown one, where those are few."""
        wanted = self.settings.warm
        last = self.log.last()
        stored = self.log.read(max(last - REPLAYED, 0), REPLAYED, (entry.SERVED,))
        made: list[dict[str, Any]] = []
        for each in reversed(stored):
            served = decode(each)
            if served is not None and served.surface == engine.surface and len(made) < wanted:
                made.append({key: value for key, value in served.request.items() if key != "time"})
        users = engine.catalogue.users.ids
        spread = np.linspace(0, len(users) - 1, wanted - len(made) if len(users) else 0)
        made += [{"user_id": users.name(int(code))} for code in spread]
        return [*made, {"user_id": None}]

    def engine(self, surface: str | None) -> Engine:
        """The engine of a surface. ConfigError for one that is not there."""
        if surface is None:
            return next(iter(self.engines.values()))
        if surface not in self.engines:
            raise ConfigError(f"request: unknown surface {surface!r}; choices: {choices(self.engines)}")
        return self.engines[surface]

    def now(self) -> int:
        """Unix seconds by the service's clock."""
        return int(self.clock())

    def vocabulary(self) -> tuple[list[str], list[str]]:
        """The kinds of events, and the context columns of events, that any of the bundles knows."""
        kinds: dict[str, None] = {}
        words: dict[str, None] = {}
        for engine in self.engines.values():
            kinds |= dict.fromkeys(str(kind) for kind in engine.catalogue.kinds.series().to_list())
            words |= dict.fromkeys(engine.catalogue.context)
        return list(kinds), list(words)

    def recommend(self, request: Mapping[str, Any], since: float | None = None) -> dict[str, Any]:
        """An answer: see `Engine.recommend`, and `surface`, `cursor`, `token`, `deadline_ms`. since: when it arrived (of
        `time.perf_counter`)."""
        asked = dict(request)
        deadline = asked.pop("deadline_ms", None)
        engine = self.engine(asked.pop("surface", None))
        asked.pop("token", None)  # one log, looked at with every request: what was acknowledged is in it
        page = asked.pop("cursor", None)
        shown = cursor.unpack(page) if page else []
        if asked.get("time") is not None:
            asked["time"] = self.clock.given(engine.moment(asked["time"], "request"))
        if shown:
            if len(asked.get("exclude") or ()) > EXCLUDED - cursor.SHOWN:
                raise ConfigError(
                    f"request: exclude has {len(asked['exclude'])} items; at most {EXCLUDED - cursor.SHOWN} with a cursor"
                )
            asked["exclude"] = [*(asked.get("exclude") or ()), *shown]
        made = engine.recommend(asked, since=since, deadline=None if deadline is None else deadline / 1000)
        page_size, ids = asked.get("k", engine.k), [item["item_id"] for item in made["items"]]
        more = len(ids) == page_size and len(shown) + len(ids) <= cursor.SHOWN
        made["cursor"] = cursor.pack([*shown, *ids]) if more else None
        made["variant"] = ""
        return made

    def told(self, events: entry.Events) -> entry.Events:
        """Events checked against every surface's bundle; a kind need be known to one of them only. DataError names the first bad one."""
        engine = next(iter(self.engines.values()))
        now = self.clock()

        def moment(at: Any, where: str) -> int:
            found = engine.moment(at, where)
            found = found if at is None else self.clock.given(found)
            if found > now + FUTURE:
                raise DataError(f"{where}: time {at!r} is more than a day ahead of the service's clock ({int(now)})")
            return found

        return told.checked(events, engine.catalogue, moment)

    def behind(self) -> int:
        """How many entries the log has that the worker that is furthest behind has not. LogError where the log is away."""
        return max(self.log.last() - min(engine.position for engine in self.engines.values()), 0)

    def close(self) -> None:
        """Write what waits and close the log."""
        self.writer.close()
        self.log.close()


__all__ = ["LogError", "Service"]
