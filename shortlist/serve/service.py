"""A service in one process: the engines of its surfaces, their log, its clock, and whether it is ready. Nothing here knows of HTTP."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from shortlist.core.errors import ConfigError, DataError, choices
from shortlist.data.catalogue import Catalogue
from shortlist.data.vocabulary import Id
from shortlist.pipeline.bundle import Bundle
from shortlist.serve import cursor, entry, told
from shortlist.serve.ask import EXCLUDED
from shortlist.serve.clock import Clock
from shortlist.serve.engine import Engine
from shortlist.serve.erase import Hasher, erase
from shortlist.serve.eventlog.codec import decode
from shortlist.serve.eventlog.contract import Entry, EventLog, LogError
from shortlist.serve.eventlog.open import open_log
from shortlist.serve.eventlog.writer import Writer
from shortlist.serve.experiments import Experiments, Variant, draft_rng, team_draft, uniform
from shortlist.serve.settings import Settings
from shortlist.serve.swap import Swap
from shortlist.serve.traces import Traces

LOGGER = logging.getLogger("shortlist.serve")
FUTURE = 86_400  # seconds that an event's time may be ahead: one far ahead would age everything else at a blow
REPLAYED = 20_000  # newest entries of the log among which requests for the warm-up are looked for
WARMING = 30.0  # seconds that a replayed request may take: kernels are compiled then; a part that hangs must not keep the service from starting


class Service:
    """engines: by surface; the first is asked where a request names none."""

    def __init__(self, settings: Settings, log: EventLog, engines: dict[str, Engine], clock: Clock) -> None:
        self.settings, self.log, self.engines, self.clock = settings, log, engines, clock
        self.swap = Swap(self)
        self.experiments = Experiments()
        if settings.experiments:
            self.experiments = Experiments.read(Path(settings.experiments), engines)
        self.writer = Writer(log, settings.unwritten)
        self.ready = False
        self.problem = "starting"  # why it is not ready
        self.warmed = 0  # requests replayed
        self.hasher = Hasher(log)
        self.traces: Traces | None = None
        self.saved: dict[str, int] = {}  # by surface, the log position that it started from

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
        self.attach()
        for engine in self.engines.values():
            engine.protect()
        self.warm()
        try:
            self.traces = Traces(self.settings.place / "traces", secrets.token_hex(6))
        except OSError as error:
            LOGGER.warning("answers are given, but no trace of them is kept: %s", error)
        for _, engine in self.swap.engines():
            engine.traces = self.traces
        self.ready, self.problem = True, ""

    def attach(self) -> None:
        """Every engine as of its newest snapshot, or of its bundle, and from there on along the log."""
        erase(self.log, [], self.hasher, self.settings.place, self.now(), self.append)  # what a crash left half done
        for engine in self.engines.values():
            self.saved[engine.surface] = self._attach(engine, self.settings.after.get(engine.surface, 0))

    def _attach(self, engine: Engine, after: int) -> int:
        """Along the log from the newest snapshot, or from `after`, the position up to which entries are in the bundle's data: what was said
        when it was first served with this log counts. Returns where it began."""
        base = self.log.meta(f"base.{engine.name}", lambda: str(after))
        return engine.follow(self.writer, int(base), self.settings.place)

    def append(self, made: Entry) -> int:
        """Write an entry, wait until it is durable, and say where."""
        return self.writer.append(made).position

    def erase(self, user: Id) -> int:
        """Take a user out of everything: see `erase`. Returns the position from which on it is so. Long: not on an event loop."""
        return erase(self.log, [self.hasher(user)], self.hasher, self.settings.place, self.now(), self.append)

    def fitted_with(self, user: Id) -> bool:
        """Was any of the bundles fitted with this user's past?"""
        return any(0 <= engine.catalogue.users.ids.code(user) < engine.known_users for engine in self.engines.values())

    def renew(self) -> Callable[[], None]:
        """Engines whose state somebody's erasure has outdated are built again, beside the old ones. Long: not on an event loop. Returns what
        exchanges them, which is quick and belongs on it."""
        made = []
        for folder, engine in self.swap.engines():
            if engine.outdated:
                fresh = Engine.of(Bundle.load(Path(folder), False), clock=self.clock, surface=engine.surface)
                self._attach(fresh, 0)
                made.append((engine, fresh))

        def exchange() -> None:
            for engine, fresh in made:
                if fresh.name == engine.name:
                    fresh.catch_up()
                    engine.exchange(fresh)

        return exchange

    def warm(self) -> None:
        """Replay served requests, or ask for known users where there are none yet: compiled code is loaded, files are read."""
        for engine in self.engines.values():
            self._warm(engine)

    def _warm(self, engine: Engine) -> None:
        writer, engine.writer = engine.writer, None  # these answers are shown to nobody, so they are not logged
        known = engine.catalogue.items.ids
        items: list[Id] = [known.name(code) for code in range(min(len(known), engine.k))]
        for request in self._requests(engine):
            if engine.pipeline.given:  # it ranks what it is given, and recommends nothing
                engine.rank({"user_id": request["user_id"], "items": items}, deadline=WARMING)
            else:
                made = engine.recommend({**request, "explain": False}, deadline=WARMING)
                items = [item["item_id"] for item in made["items"]] or items
            self.warmed += 1
        if items:
            engine.rank({"items": items}, deadline=WARMING)
            engine.similar({"item_id": items[0]}, deadline=WARMING)
        engine.writer = writer

    def _requests(self, engine: Engine) -> list[dict[str, Any]]:
        """The newest served requests of a surface; known users, the newest and some others, and an unknown one, where those are few."""
        wanted = self.settings.warm
        last = self.log.last()
        stored = self.log.read(max(last - REPLAYED, 0), REPLAYED, (entry.SERVED,))
        made: list[dict[str, Any]] = []
        for each in reversed(stored):
            served = decode(each)
            usual = served is not None and served.surface == engine.surface and served.call == "recommend"
            if usual and len(made) < wanted:
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
        limit = None if deadline is None else deadline / 1000
        made, variant = self._answered(engine.surface, asked, since, limit)
        page_size, ids = asked.get("k", engine.k), [item["item_id"] for item in made["items"]]
        more = len(ids) == page_size and len(shown) + len(ids) <= cursor.SHOWN
        made["cursor"] = cursor.pack([*shown, *ids]) if more else None
        made["variant"] = variant
        return made

    def rank(self, request: Mapping[str, Any], since: float | None = None) -> dict[str, Any]:
        """Given items in order: see `Engine.rank`, and `surface`, `deadline_ms`."""
        return self._other("rank", dict(request), since)

    def similar(self, request: Mapping[str, Any], since: float | None = None) -> dict[str, Any]:
        """Items like one: see `Engine.similar`, and `surface`, `deadline_ms`."""
        return self._other("similar", dict(request), since)

    def _other(self, call: str, asked: dict[str, Any], since: float | None) -> dict[str, Any]:
        """An answer to `rank` or `similar`, of the same engine that would recommend."""
        deadline = asked.pop("deadline_ms", None)
        surface = self.engine(asked.pop("surface", None)).surface
        if asked.get("time") is not None:
            asked["time"] = self.clock.given(self.engine(surface).moment(asked["time"], "request"))
        engine, variant, _, _ = self._picked(surface, asked.get("user_id"))
        answer = {"rank": engine.rank, "similar": engine.similar}[call]
        made = answer(asked, since=since, deadline=None if deadline is None else deadline / 1000, variant=variant)
        return {**made, "variant": variant}

    def _picked(self, surface: str, user: Id | None) -> tuple[Engine, str, Variant | None, str]:
        """Who answers a user, by the experiments and the canary of the surface: the engine and its name; the variant that chose another surface,
        if one did; whether it is the canary."""
        assigned = self.experiments.assigned(user)
        labels = [each.label for each in assigned]
        chosen = next((each.variant for each in assigned if each.variant.surface), None)
        if chosen is not None and not chosen.interleave:
            surface = chosen.surface
        engine, canary = self.swap.picked(surface, user, uniform("canary", surface, user))
        return engine, ",".join([*labels, *([canary] if canary else [])]), chosen, canary

    def _answered(
        self, surface: str, asked: dict[str, Any], since: float | None, limit: float | None
    ) -> tuple[dict[str, Any], str]:
        """The answer of whoever is to give it, and the name of that."""
        engine, variant, chosen, canary = self._picked(surface, asked.get("user_id"))
        surface = engine.surface
        if chosen is not None and chosen.interleave:
            return self._drafted(engine, self.engines[chosen.surface], asked, since, limit, variant), variant
        made = engine.recommend(asked, since=since, deadline=limit, variant=variant)
        if not canary:
            ids = [item["item_id"] for item in made["items"]]
            self.swap.answered(surface, {**asked, "time": made["time"]}, ids, uniform("shadow", made.get("request_id")))
        return made, variant

    def _drafted(
        self, one: Engine, other: Engine, asked: dict[str, Any], since: float | None, limit: float | None, variant: str
    ) -> dict[str, Any]:
        """The lists of two engines drafted into one, which says who brought what."""
        contents: list[entry.Served] = []
        made = one.recommend(asked, since=since, deadline=limit, variant=variant, put=contents.append)
        second = other.recommend(asked, since=since, deadline=limit, variant=variant, put=contents.append)
        lists = ([item["item_id"] for item in made["items"]], [item["item_id"] for item in second["items"]])
        k = asked.get("k") or one.k
        ids, teams = team_draft(lists[0], lists[1], k, draft_rng(one.pipeline.seed, asked.get("user_id"), made["time"]))
        places = [lists[team == "b"].index(item) for item, team in zip(ids, teams, strict=True)]
        made["items"] = [(made, second)[team == "b"]["items"][place] for place, team in zip(places, teams, strict=True)]
        made["bundle"] = f"{one.name}+{other.name}"
        made["degraded"] = list(dict.fromkeys([*made["degraded"], *second["degraded"]]))
        made["took_ms"] = round(made["took_ms"] + second["took_ms"], 3)
        if len(contents) == 2:

            def column(name: str) -> list[Any]:
                both = [getattr(content, name) for content in contents]
                return [both[team == "b"][place] for place, team in zip(places, teams, strict=True)]

            request = {**contents[0].request, "teams": teams}
            drafted = replace(contents[0], request=request, items=ids, bundle=made["bundle"], degraded=made["degraded"])
            drafted.scores, drafted.sources, drafted.propensity = map(column, ("scores", "sources", "propensity"))
            one.put(drafted)
        return made

    def beside(self, bundle: Bundle, surface: str, after: int) -> Engine:
        """A further engine of a surface, at the end of the log and warm; it answers nobody yet. after: entries of the log up to it are in
        the bundle's data."""
        engine = Engine.of(bundle, clock=self.clock, surface=surface)
        engine.protect()
        self._attach(engine, after)
        self._warm(engine)
        engine.traces = self.traces
        return engine

    def catalogues(self) -> list[Catalogue]:
        """Of every surface's bundle, the first surface's first."""
        return [engine.catalogue for engine in self.engines.values()]

    def told(self, events: entry.Events) -> entry.Events:
        """Events checked against every surface's bundle: one of them must be able to hold it. DataError names the first bad one."""
        engine = self.engine(None)
        now = self.clock()

        def moment(at: Any, where: str) -> int:
            found = engine.moment(at, where)
            found = found if at is None else self.clock.given(found)
            if found > now + FUTURE:
                raise DataError(f"{where}: time {at!r} is more than a day ahead of the service's clock ({int(now)})")
            return found

        return told.checked(events, self.catalogues(), moment)

    def behind(self) -> int:
        """How many entries the log has that the worker that is furthest behind has not. LogError where the log is away."""
        return max(self.log.last() - min(engine.position for engine in self.engines.values()), 0)

    def close(self) -> None:
        """Write what waits and close the log."""
        self.writer.close()
        self.log.close()


__all__ = ["LogError", "Service"]
