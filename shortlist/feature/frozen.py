"""Frozen: families that see the state as it was at the fit, beside others that see it live."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from shortlist.core.batch import Batch, Columns
from shortlist.core.component import build, hidden, load, param, save
from shortlist.core.contracts import Feature, FitContext
from shortlist.core.contracts import State as AnyState
from shortlist.core.errors import ConfigError
from shortlist.data.log import Log
from shortlist.state import needs
from shortlist.state.keys import KEYS
from shortlist.state.state import State

MARK = ":frozen"


@dataclass
class Frozen(Feature):
    """The columns of `families` as of the fit, each under its own name and `:frozen`. What happened since then they do not know, in training, test
    and service alike: every label window is one fit, and a service has new ones when it has a new bundle.

    For what a user himself did. Live, it leaves the count just before each of his successes, so that within one user it orders the
    candidates the wrong way round; as of the fit it still tells users apart. Items, and what everybody does, are better live.
    """

    families: list[dict[str, Any]] = param(
        [], "families as [[feature]] entries: type, options, a name where two are of one type"
    )
    history: int = param(128, "newest events kept per user", low=1, high=1_000_000)
    event: tuple[str, ...] = param(
        (), "event kinds that enter the histories; those that the families look at when empty"
    )
    keys: int = param(KEYS, "values kept per key of several columns; of more, the coldest go", low=16)
    _parts: dict[str, Any] = hidden({})
    _ctx: Any = hidden(None)
    _state: Any = hidden(None)
    reads_state: ClassVar[bool] = False  # of its own, which stands still: requests of many moments may be asked at once

    def __post_init__(self) -> None:
        self._parts = {}
        for i, entry in enumerate(self.families):
            spec, place = dict(entry), f"frozen.families[{i}]"
            name = str(spec.pop("name", str(spec.get("type", "")).rpartition(".")[2]))
            if name in self._parts:
                raise ConfigError(
                    f"{place}: a second family is called {name!r}; give it a name of its own (name = ...)"
                )
            part = self._parts[name] = build("feature", spec, place)
            if not hasattr(part, "compute") or isinstance(part, Frozen):
                raise ConfigError(
                    f"{place}: {spec['type']!r} cannot be frozen by itself; write the families that it stands for"
                )

    def folds(self, ctx: FitContext) -> tuple[()]:
        """None of the live state; its families' aggregates are kept here. ConfigError without a family."""
        place = ctx.place or "frozen"
        if not self._parts:
            raise ConfigError(
                f"{place}.families is empty; write at least one, for example {{type = 'rate', by = ['user']}}"
            )
        self._ctx = replace(ctx, place=place)
        needs.aggregates(self._placed(), self._ctx)  # what is wrong with a family is said here
        return ()

    def fit(self, log: Log, ctx: FitContext) -> None:
        """The state as of now, from the whole log, and whatever the families learn."""
        self._ctx = replace(ctx, place=self._ctx.place)
        folds = needs.aggregates(self._placed(), self._ctx)
        looked_at = [tuple(getattr(part, "event", ())) or ctx.positive for part in self._parts.values()]
        kinds = self.event or tuple(dict.fromkeys(kind for each in looked_at for kind in each))
        self._state = State(
            ctx.catalogue, folds, history=self.history, history_events=kinds, keys=self.keys,
            bounds=needs.bounds(self._placed()),
        )  # fmt: skip
        if len(log):
            self._state.apply(log.columns)
        for place, part in self._placed():
            if hasattr(part, "fit"):
                part.fit(log, replace(ctx, place=place))

    def compute(self, batch: Batch, state: AnyState) -> Columns:
        """The families' columns, each (m,), whatever the live state says."""
        if isinstance(state, State):  # of a pipeline that was built anew, nobody has said it before
            self.stand_beside(state)
        columns: Columns = {}
        for name, part in self._parts.items():
            made = part.compute(batch, self._state)
            for column, values in made.items():
                if f"{column}{MARK}" in columns:
                    raise ConfigError(
                        f"{self._ctx.place}.{name}: the column {column!r} exists already; drop the family"
                    )
                columns[f"{column}{MARK}"] = values
        return columns

    def origin(self, column: str) -> str:
        """No aggregate of the live state."""
        return ""

    def stand_beside(self, live: State) -> None:
        """Read attributes from the live state's catalogue, which grows, and forget whom that forgets."""
        if self._state is not None and self._state not in live.beside:
            if self._state.catalogue is not live.catalogue:
                self._state.move(live.catalogue)
            live.beside.add(self._state)

    def save_files(self, folder: Path) -> None:
        """The state as a snapshot, and what every family learned."""
        self._state.snapshot(folder / "state")
        for name, part in self._parts.items():
            save(part, folder / "families" / name)

    def load_files(self, folder: Path) -> None:
        """Read what `save_files` wrote."""
        self._state = State.load(folder / "state", self._ctx.catalogue)
        for name, part in self._parts.items():
            load(part, folder / "families" / name)

    def _placed(self) -> Iterator[tuple[str, Any]]:
        for name, part in self._parts.items():
            yield f"{self._ctx.place}.{name}", part
