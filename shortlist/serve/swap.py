"""Another bundle without a stop: loaded, checked and warmed beside the old one, tried in the shadow or by a share of the users, then put in its place at once.

What is wanted stands in one file that the admin interface writes and all workers read; what each worker has stands in a file of its own. A worker loads
in a thread, and changes engines between two requests on its event loop, so an answer is one bundle's, whole. A bundle that is damaged, or
cannot take the place of the old one, is refused by the worker that tries it, and the old one stays.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from shortlist.core.errors import ConfigError, ShortlistError, choices
from shortlist.pipeline.bundle import MANIFEST, Bundle, check, digest, manifest
from shortlist.serve.engine import Engine
from shortlist.serve.shared import Shared

if TYPE_CHECKING:
    from shortlist.serve.service import Service

LOGGER = logging.getLogger("shortlist.serve")
MODES = ("hold", "shadow", "canary")
ALIVE = 5.0  # seconds after which a worker that has said nothing is gone
WAITING = 200  # requests that wait to be answered in the shadow, at most; more are passed over
WISHES = "bundles.json"


@dataclass(frozen=True)
class Wish:
    """What a surface shall have. active, previous, candidate: bundle folders; started: what the service was started with when this was written:
    started with another one, it is that one's again. mode: what the candidate does (hold, shadow, canary), with which share of the requests or users.
    after: by folder, entries of the log up to it are in the bundle's data."""

    started: str
    active: str
    previous: str = ""
    candidate: str = ""
    mode: str = "hold"
    share: float = 0.0
    after: dict[str, int] = field(default_factory=dict)
    serial: int = 0


class Wishes:
    """The file."""

    def __init__(self, folder: Path, look: float = 0.0) -> None:
        self._file = Shared(folder / WISHES, look)

    def read(self) -> dict[str, Wish]:
        """By surface."""
        return {surface: Wish(**told) for surface, told in self._file.read(fresh=True).items()}

    def change(self, surface: str, change: Callable[[Wish], Wish]) -> Wish:
        """One wish, changed in turn with others who do. ConfigError for a surface that is not there."""
        with self._file.changing() as told:
            if surface not in told:
                raise ConfigError(f"unknown surface {surface!r}; choices: {choices(told)}")
            made = change(Wish(**told[surface]))
            made = replace(made, serial=made.serial + 1)
            told[surface] = asdict(made)
        return made

    def begin(self, surfaces: Mapping[str, str]) -> dict[str, str]:
        """The folders that a service starts with: those swapped in since it was started with the same, else those given."""
        with self._file.changing() as told:
            for surface in [name for name in told if name not in surfaces]:
                del told[surface]
            for surface, folder in surfaces.items():
                own = str(Path(folder).absolute())
                if told.get(surface, {}).get("started") != own:
                    told[surface] = asdict(Wish(own, own))
            return {surface: Wish(**wish).active for surface, wish in told.items()}


@dataclass
class Shadow:
    """How the candidate's answers differ from those that were shown. same: equal lists; first: equal first items; overlap: mean share of common items;
    ms: milliseconds of the candidate, added up."""

    requests: int = 0
    same: int = 0
    first: int = 0
    overlap: float = 0.0
    errors: int = 0
    ms: float = 0.0

    def add(self, shown: list[Any], other: list[Any], ms: float) -> None:
        """One request."""
        self.requests += 1
        self.same += shown == other
        self.first += shown[:1] == other[:1]
        self.overlap += len(set(shown) & set(other)) / max(len(shown), len(other), 1)
        self.ms += ms


class _Loaded(NamedTuple):
    surface: str
    folder: str
    serial: int
    engine: Engine | None
    problem: str


@dataclass
class _Held:
    """One surface in this worker. engines: by folder, all following the log."""

    folder: str
    engines: dict[str, Engine]
    wish: Wish | None = None
    loading: str = ""
    problem: str = ""
    refused: tuple[str, int] = ("", -1)  # folder, serial of the wish that named it
    shadow: Shadow = field(default_factory=Shadow)


class Swap:
    """One worker's side. `beat` is called on the event loop, between requests."""

    def __init__(self, service: Service) -> None:
        place = service.settings.place
        self.service, self.wishes = service, Wishes(place)
        self.report = place / "workers" / f"{os.getpid()}.json"
        self.shadows: deque[tuple[Engine, _Held, dict[str, Any], list[Any]]] = deque(maxlen=WAITING)
        self._held = {
            surface: _Held(str(Path(service.settings.surfaces[surface]).absolute()), {}) for surface in service.engines
        }
        for surface, engine in service.engines.items():
            self._held[surface].engines[self._held[surface].folder] = engine
        self._done: deque[_Loaded] = deque()

    def engines(self) -> list[tuple[str, Engine]]:
        """All that this worker holds, those that stand by too, each with its bundle's folder."""
        return [(folder, engine) for held in self._held.values() for folder, engine in held.engines.items()]

    def beat(self) -> None:
        """Do what is wanted as far as it can be done now, keep the engines that stand by at the log's end, and say how things are."""
        if not self.service.ready:
            return
        while self._done:
            self._take(self._done.popleft())
        for surface, wish in self.wishes.read().items():
            if surface in self._held:
                self._towards(surface, self._held[surface], wish)
        for surface, held in self._held.items():
            for engine in held.engines.values():
                if engine is not self.service.engines[surface]:
                    with suppress(ShortlistError):  # the log is away: later
                        engine.catch_up()
        self._say()

    def picked(self, surface: str, user: object, uniform: float) -> tuple[Engine, str]:
        """The engine that answers, and what that is called: a share of the users gets the candidate of a canary. uniform: a number from 0 to 1
        that belongs to the user."""
        held = self._held[surface]
        wish = held.wish
        if wish is not None and wish.mode == "canary" and user is not None and uniform < wish.share:
            engine = held.engines.get(wish.candidate)
            if engine is not None:
                return engine, "canary"
        return self.service.engines[surface], ""

    def answered(self, surface: str, request: dict[str, Any], shown: list[Any], uniform: float) -> None:
        """An answer was given: a share of the requests is asked again of the candidate, in the shadow. uniform: a number that belongs to the
        request."""
        held = self._held[surface]
        wish = held.wish
        if wish is not None and wish.mode == "shadow" and uniform < wish.share:
            engine = held.engines.get(wish.candidate)
            if engine is not None:
                self.shadows.append((engine, held, request, shown))

    def shade(self) -> bool:
        """Answer one request in the shadow; False when none waits."""
        if not self.shadows:
            return False
        engine, held, request, shown = self.shadows.popleft()
        writer, engine.writer, observe, engine.observe = engine.writer, None, engine.observe, None
        try:
            made = engine.recommend(request)
            held.shadow.add(shown, [item["item_id"] for item in made["items"]], made["took_ms"])
        except Exception as error:
            held.shadow.errors += 1
            held.problem = f"in the shadow: {type(error).__name__}: {error}"
        finally:
            engine.writer, engine.observe = writer, observe
        return True

    def _towards(self, surface: str, held: _Held, wish: Wish) -> None:
        if held.wish is not None and wish.candidate != held.wish.candidate:
            held.shadow = Shadow()
        if held.wish is None or wish.serial != held.wish.serial:
            held.problem = ""
        held.wish = wish
        if wish.active != held.folder and wish.active in held.engines:
            self.service.engines[surface] = held.engines[wish.active]
            held.folder, held.problem = wish.active, ""
            LOGGER.info("surface %s: bundle %s", surface, held.engines[wish.active].name)
        for folder in (wish.active, wish.candidate):
            if folder and folder not in held.engines and not held.loading and held.refused != (folder, wish.serial):
                held.loading, held.problem = folder, ""
                arguments = (surface, folder, wish, self.service.engines[surface])
                threading.Thread(target=self._load, args=arguments, name="bundle", daemon=True).start()
        wanted = {held.folder, wish.active, wish.previous, wish.candidate}
        for folder in [name for name in held.engines if name not in wanted]:
            gone = held.engines.pop(folder)
            if gone.resilient is not None:
                gone.resilient.close()

    def _load(self, surface: str, folder: str, wish: Wish, now: Engine) -> None:
        """In a thread: a new engine at the end of the log and warm, or why there is none."""
        engine, problem = None, ""
        try:
            bundle = Bundle.load(Path(folder))
            incompatible = compatible(now, bundle)
            if incompatible:
                raise ConfigError(f"{folder}: cannot take the place of bundle {now.name}: {incompatible}")
            engine = self.service.beside(bundle, surface, wish.after.get(folder, 0))
        except Exception as error:
            engine, problem = None, " ".join(str(error).split()) or type(error).__name__
            if not isinstance(error, ShortlistError):
                LOGGER.exception("bundle %s cannot be loaded", folder)
        self._done.append(_Loaded(surface, folder, wish.serial, engine, problem))

    def _take(self, loaded: _Loaded) -> None:
        held = self._held[loaded.surface]
        held.loading = ""
        if loaded.engine is None:
            held.problem, held.refused = loaded.problem, (loaded.folder, loaded.serial)
            LOGGER.error("surface %s: %s", loaded.surface, loaded.problem)
            return
        loaded.engine.observe = self.service.engines[loaded.surface].observe
        held.engines[loaded.folder] = loaded.engine

    def _say(self) -> None:
        surfaces: dict[str, Any] = {}
        for surface, held in self._held.items():
            serial = held.wish.serial if held.wish is not None else 0
            surfaces[surface] = {
                "active": self.service.engines[surface].name, "folder": held.folder, "loaded": sorted(held.engines), "loading": held.loading,
                "problem": held.problem, "serial": serial, "shadow": asdict(held.shadow),
            }  # fmt: skip
        told = {"pid": os.getpid(), "time": time.time(), "surfaces": surfaces}
        with suppress(OSError):
            self.report.parent.mkdir(parents=True, exist_ok=True)
            draft = self.report.with_suffix(".draft")
            draft.write_text(json.dumps(told), encoding="utf-8")
            draft.replace(self.report)


def compatible(now: Engine, bundle: Bundle) -> str:
    """Why a bundle cannot take the place of the one that answers now; "" if it can. What clients may send must mean something to it."""
    have, new = now.catalogue, bundle.state.catalogue
    for name in now.context:
        if name not in bundle.recipe.data.context:
            return f"it does not know the context {name!r}, which requests may carry"
    for name, vocabulary in have.context.items():
        if name not in new.context:
            return f"it does not know the event column {name!r}"
        if len(vocabulary) and len(new.context[name]) and vocabulary.is_text != new.context[name].is_text:
            return f"the values of {name!r} are of another type"
    for kind in have.kinds.series().to_list():
        if new.kinds.code(kind) < 0:
            return f"it does not know the event kind {kind!r}"
    for title, one, other in (("item", have.items, new.items), ("user", have.users, new.users)):
        if len(one) and len(other) and one.ids.is_text != other.ids.is_text:
            return f"its {title} ids are {'text' if other.ids.is_text else 'integers'}, the service's are not"
    return ""


class Desk:
    """The admin interface's side: it writes what is wanted, and reads what the workers have."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.wishes = folder, Wishes(folder)

    def workers(self) -> list[dict[str, Any]]:
        """What every living worker says of itself."""
        found = []
        for path in sorted((self.folder / "workers").glob("*.json")):
            try:
                told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            if time.time() - told["time"] <= ALIVE:
                found.append(told)
        return found

    def state(self) -> dict[str, Any]:
        """Everything: the wishes, and each worker."""
        return {
            "surfaces": {name: asdict(wish) for name, wish in self.wishes.read().items()},
            "workers": self.workers(),
        }

    def load(self, surface: str, folder: str, mode: str = "hold", share: float = 0.0, after: int = 0) -> Wish:
        """Name a candidate. BundleError, and nothing changed, for a folder that is no whole bundle: every file is hashed here first."""
        checked_mode(mode, share)
        path = Path(folder).absolute()
        check(path, manifest(path))

        def change(wish: Wish) -> Wish:
            if wish.active == str(path):
                raise ConfigError(f"surface {surface!r}: {path} answers already; choices: another folder")
            known = {**wish.after, str(path): after}
            return replace(wish, candidate=str(path), mode=mode, share=share, after=known)

        return self.wishes.change(surface, change)

    def mode(self, surface: str, mode: str, share: float) -> Wish:
        """What the candidate does."""
        checked_mode(mode, share)

        def change(wish: Wish) -> Wish:
            if not wish.candidate:
                raise ConfigError(f"surface {surface!r} has no candidate: load one first")
            return replace(wish, mode=mode, share=share)

        return self.wishes.change(surface, change)

    def swap(self, surface: str) -> Wish:
        """The candidate takes the place of the active bundle, which stands by as the previous one. ConfigError where not every worker has it
        loaded: the answer says why."""

        def change(wish: Wish) -> Wish:
            if not wish.candidate:
                raise ConfigError(f"surface {surface!r} has no candidate: load one first")
            self._everywhere(surface, wish.candidate)
            return replace(wish, active=wish.candidate, previous=wish.active, candidate="", mode="hold", share=0.0)

        return self.wishes.change(surface, change)

    def rollback(self, surface: str) -> Wish:
        """The previous bundle answers again; it stood by, at the end of the log."""

        def change(wish: Wish) -> Wish:
            if not wish.previous:
                raise ConfigError(f"surface {surface!r} has no previous bundle")
            return replace(wish, active=wish.previous, previous=wish.active)

        return self.wishes.change(surface, change)

    def drop(self, surface: str) -> Wish:
        """The candidate is given up."""
        return self.wishes.change(surface, lambda wish: replace(wish, candidate="", mode="hold", share=0.0))

    def wait(self, surface: str, wish: Wish, done: Callable[[dict[str, Any]], bool], seconds: float) -> str:
        """Until all living workers know this wish and say that it is done: "", or the problem of the first that has one, or that it took too
        long."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            told = [worker["surfaces"].get(surface, {}) for worker in self.workers()]
            known = [each for each in told if each.get("serial", -1) >= wish.serial]
            problem = next((each["problem"] for each in known if each.get("problem")), "")
            if problem:
                return str(problem)
            if known and len(known) == len(told) and all(done(each) for each in known):
                return ""
            time.sleep(0.05)
        return f"not done within {seconds:g} s"

    def _everywhere(self, surface: str, folder: str) -> None:
        for worker in self.workers():
            told = worker["surfaces"].get(surface, {})
            if folder not in told.get("loaded", ()):
                why = told.get("problem") or ("it is loading" if told.get("loading") else "it has not begun to load")
                raise ConfigError(f"worker {worker['pid']} does not have {folder}: {why}")


def checked_mode(mode: str, share: float) -> None:
    """ConfigError for what no candidate can do."""
    if mode not in MODES:
        raise ConfigError(f"unknown mode {mode!r}; choices: {choices(MODES)}")
    if not 0 <= share <= 1:
        raise ConfigError(f"share must be from 0 to 1, not {share!r}")


def named(folder: str) -> str:
    """The name of the bundle in a folder, as answers have it."""
    return digest(Path(folder) / MANIFEST)[:12]
