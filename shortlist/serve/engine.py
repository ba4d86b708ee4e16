"""The engine: a bundle and its state, in one process. `recommend` answers, `track` learns; the next answer knows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from shortlist.core import rows
from shortlist.core.batch import Array, Batch, Columns
from shortlist.core.contracts import Mask
from shortlist.core.errors import ConfigError, DataError, ShortlistError, choices
from shortlist.core.units import moment
from shortlist.data.catalogue import Catalogue
from shortlist.data.schema import MILLISECONDS, OPTIONAL, REQUIRED
from shortlist.pipeline.answer import table
from shortlist.pipeline.bundle import Bundle
from shortlist.pipeline.pipeline import Pipeline
from shortlist.pipeline.trace import Trace
from shortlist.serve.record import Recorder
from shortlist.state.state import State

MOST = 1000  # items in one answer
ASKED = ("user_id", "k", "time", "context", "exclude", "explain")  # fields of a request
LARGEST = float(np.finfo(np.float32).max)  # values are kept as float32


class Engine:
    """The same pipeline and state that were trained and measured, for one request at a time or for many.

    clock: gives "now" in unix seconds for requests and events without a time; by default the time of the latest event known,
    so that a bundle of old data answers as of its data.
    """

    def __init__(
        self, pipeline: Pipeline, state: State, *, k: int = 10, chunk: int = 256, context: Sequence[str] = (),
        name: str = "", clock: Callable[[], float] | None = None,
    ) -> None:  # fmt: skip
        self.pipeline = pipeline
        self.state = state
        self.k = k
        self.chunk = chunk
        self.context = tuple(context)
        self.name = name
        self._clock = clock
        self._recorder: Recorder | None = None

    @classmethod
    def load(cls, folder: str | Path, *, verify: bool = True, clock: Callable[[], float] | None = None) -> Engine:
        """An engine on a bundle folder."""
        bundle = Bundle.load(Path(folder), verify)
        return cls.of(bundle, clock=clock)

    @classmethod
    def of(cls, bundle: Bundle, *, clock: Callable[[], float] | None = None) -> Engine:
        """An engine on a bundle in memory."""
        recipe = bundle.recipe
        return cls(
            bundle.pipeline, bundle.state, k=recipe.pipeline.k, chunk=recipe.pipeline.chunk, context=recipe.data.context,
            name=bundle.name, clock=clock,
        )  # fmt: skip

    @property
    def catalogue(self) -> Catalogue:
        """Items, users, event kinds and context values, as known now."""
        return self.state.catalogue

    def now(self) -> int:
        """Unix seconds of a request or event that does not say."""
        return int(self._clock()) if self._clock is not None else max(self.state.now, 0)

    def recommend(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Answer one request: `{"user_id", "k", "time", "context": {}, "exclude": [item ids], "explain": bool}`, all optional.

        Returns `{"user_id", "items": [{"item_id", "score", "why" if asked to explain}], "time", "bundle", "took_ms"}`. An unknown user, and a
        short list, are not errors. While the engine records, the answer has a `request_id`, too.
        """
        started = time.perf_counter()
        batch, k, exclude = self.checked(request)
        explain = bool(request.get("explain"))
        trace = Trace() if explain or self._recorder is not None else None
        answer = self._answer(batch, k, exclude, trace)
        names = self.catalogue.items.ids
        items: list[dict[str, Any]] = []
        for row in range(answer.m):
            entry: dict[str, Any] = {
                "item_id": names.name(int(answer.item[row])),
                "score": float(answer.cand["score"][row]),
            }
            if trace is not None and explain:
                entry["why"] = trace.why(int(answer.item[row]), list(self.pipeline.filters))
            items.append(entry)
        named = {} if trace is None else self._recorded(request, batch, k, exclude, trace)
        return {
            **named,
            "user_id": request.get("user_id"),
            "items": items,
            "time": int(batch.time[0]),
            "bundle": self.name,
            "took_ms": round(1000 * (time.perf_counter() - started), 3),
        }

    def record(self, folder: str | Path, **options: Any) -> Recorder:
        """From now on keep every answer to `recommend`, with all that the ranker saw, and every event that `track` is given: so that
        `shortlist parity` can compute them again. Events from before are not there, so record from the start. options: those of
        `Recorder`. Returns the recorder: flush or close it when done. BundleError for a folder with other things in it."""
        self._recorder = Recorder(Path(folder), self.name, self.catalogue, **options)
        return self._recorder

    def _recorded(
        self, request: Mapping[str, Any], batch: Batch, k: int, exclude: Array, trace: Trace
    ) -> dict[str, Any]:  # fmt: skip
        """The request's id in the record; nothing where there is none."""
        if self._recorder is None:
            return {}
        assert trace.ranked is not None
        assert trace.answer is not None
        asked = {
            "user_id": request.get("user_id"),
            "time": int(batch.time[0]),
            "context": dict(request.get("context") or {}),
            "k": k,
            "exclude": self.catalogue.items.ids.names(exclude).to_list(),
        }
        return {"request_id": self._recorder.request(self.state.count, asked, trace.ranked, trace.answer)}

    def checked(self, request: Mapping[str, Any]) -> tuple[Batch, int, Array]:
        """A request as a batch of one, how many items it wants, and the codes of those it does not want. ConfigError for a bad one."""
        unknown = set(request) - set(ASKED)
        if unknown:
            raise ConfigError(f"request: unknown field {sorted(unknown)[0]!r}; fields: {choices(ASKED)}")
        k = request.get("k", self.k)
        if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= MOST:
            raise ConfigError(f"request: k must be a whole number from 1 to {MOST}, not {k!r}")
        user, context, exclude = request.get("user_id"), request.get("context"), request.get("exclude")
        if user is not None and not _is_id(user):
            raise ConfigError(f"request: user_id must be an id, not {user!r}")
        if context is not None and not isinstance(context, Mapping):
            raise ConfigError(f"request: context must be a table of values by name, not {context!r}")
        if exclude is not None and not isinstance(exclude, list | tuple | set):
            raise ConfigError(f"request: exclude must be a list of item ids, not {exclude!r}")
        codes = self.catalogue.items.ids.codes(list(exclude or []))
        return self._asked([user], request.get("time"), context or {}), k, codes[codes >= 0]

    def _answer(self, batch: Batch, k: int, exclude: Array, trace: Trace | None = None) -> Batch:
        """The pipeline's answer without some items: asked for as many more, so that the list is not short for it."""
        if not len(exclude):
            return self.pipeline.recommend(batch, self.state, k, trace)
        answer = self.pipeline.recommend(batch, self.state, k + len(exclude), trace)
        answer = answer.keep(Mask(None, np.array([0, len(exclude)]), exclude).allows(answer))
        answer = answer.take(np.flatnonzero(rows.run_place(answer.offsets) < k))
        if trace is not None:
            trace.answer = answer
        return answer

    def _asked(self, users: Sequence[Any], at: Any, context: Mapping[str, Any]) -> Batch:
        """Requests as a batch: outside ids to codes, -1 where unknown."""
        for name in context:
            if name not in self.context:
                raise ConfigError(f"request: unknown context {name!r}; choices: {choices(self.context)}")
        codes = np.array(
            [-1 if user is None else self.catalogue.users.ids.code(user) for user in users], dtype=np.int32
        )
        columns: Columns = {}
        for name in self.context:
            columns[name] = np.repeat(self._context(name, context.get(name)), len(codes))
        return Batch.of(codes, np.array(self._moment(at, "request", ConfigError), dtype=np.int64), **columns)

    def _moment(self, at: Any, where: str, kind: type[ShortlistError]) -> int:
        """Unix seconds of a given time; now when there is none."""
        try:
            seconds = self.now() if at is None else moment(at)
        except ConfigError as error:
            raise kind(f"{where}: {error}") from None
        if abs(seconds) >= MILLISECONDS:
            raise kind(f"{where}: time {at!r} is not in seconds: it looks like milliseconds")
        return seconds

    def _context(self, name: str, value: Any) -> Array:
        """One context value as (1,): a category's code (-1 = unknown or not given), or a number (NaN = not given)."""
        vocabulary = self.catalogue.context.get(name)
        if vocabulary is not None:
            return np.array([-1 if value is None else vocabulary.code(_word(value))], dtype=np.int32)
        if value is not None and (not isinstance(value, int | float) or isinstance(value, bool)):
            raise ConfigError(f"request: context {name!r} must be a number, not {value!r}")
        return np.array([np.nan if value is None else value], dtype=np.float32)

    def recommend_all(
        self, users: Iterable[Any] | None = None, k: int | None = None, at: Any = None,
        progress: Callable[..., Iterable[Any]] | None = None,
    ) -> pl.DataFrame:  # fmt: skip
        """Answers for many users (all known ones by default) at one time: user_id, item_id, rank, score, source. ConfigError for
        a k below 1, a time that is none, or one text where a list of ids belongs."""
        k = self.k if k is None else k
        if k < 1:
            raise ConfigError(f"recommend: k must be at least 1, not {k}")
        if isinstance(users, str):
            raise ConfigError(f"recommend: users must be a list of ids, not {users!r}")
        names = self.catalogue.users.ids.series().to_list() if users is None else list(users)
        ids = self._ids(names)
        starts = list(range(0, len(names), self.chunk)) or [0]
        parts = []
        for start in progress(starts, "recommend", len(starts)) if progress is not None else starts:
            stop = start + self.chunk
            answer = self.pipeline.recommend(self._asked(names[start:stop], at, {}), self.state, k)
            parts.append(table(answer, ids[start:stop], self.catalogue.items.ids, list(self.pipeline.sources)))
        return pl.concat(parts)

    def _ids(self, users: Sequence[Any]) -> pl.Series:
        """Outside ids as a column. One that cannot be theirs (text where they are integers) makes it text: it must not be lost."""
        own = self.catalogue.users.ids
        names = [own.like(user) for user in users]
        text = own.is_text or any(isinstance(name, str) for name in names)
        return pl.Series([str(name) if text else name for name in names], dtype=pl.String if text else pl.Int64)

    def track(self, events: Iterable[Mapping[str, Any]]) -> int:
        """Fold events in, in the order given: `{"user_id", "item_id", "event", "time", "value", ...context}`. New users and
        items are taken in. All are checked before any is: DataError names the first bad one. Returns how many were folded."""
        listed = list(events)
        columns, first = self.encoded(listed), self.state.count
        self.state.apply(columns)
        if self._recorder is not None:
            self._recorder.events(first, columns)
        return len(listed)

    def encoded(self, events: Sequence[Mapping[str, Any]]) -> Columns:
        """Events as log columns; checked first, so that a bad batch changes nothing."""
        kinds = self.catalogue.kinds
        fields = [*REQUIRED, *OPTIONAL, *dict.fromkeys([*self.catalogue.context, *self.context])]
        only = str(kinds.name(0)) if len(kinds) == 1 else None
        times, values, kind_codes = [], [], []
        for i, event in enumerate(events):
            where = f"events[{i}]"
            for key in event:
                if key not in fields:
                    raise DataError(f"{where}: unknown field {key!r}; fields: {choices(fields)}")
            for key in ("user_id", "item_id"):
                if not _is_id(event.get(key)):
                    raise DataError(f"{where}: {key} must be an id, not {event.get(key)!r}")
            kind = event.get("event", only)
            if kind is None or kinds.code(kind) < 0:
                raise DataError(f"{where}: unknown event {kind!r}; choices: {choices(kinds.series().to_list())}")
            value = event.get("value")
            if value is not None and (
                isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST
            ):
                raise DataError(f"{where}: value must be a finite number, not {value!r}")
            times.append(self._moment(event.get("time"), where, DataError))
            values.append(np.nan if value is None else value)
            kind_codes.append(kinds.code(kind))
        self._same_ids(events)
        columns: Columns = {
            "user": np.array([self.catalogue.users.add(event["user_id"]) for event in events], dtype=np.int32),
            "item": np.array([self.catalogue.items.add(event["item_id"]) for event in events], dtype=np.int32),
            "time": np.array(times, dtype=np.int64),
            "kind": np.array(kind_codes, dtype=np.int8),
            "value": np.array(values, dtype=np.float32),
        }
        for name in self.catalogue.context:
            vocabulary = self.catalogue.context[name]
            given = [_word(event.get(name)) for event in events]
            columns[name] = np.array(
                [-1 if value is None else vocabulary.add(value) for value in given], dtype=np.int32
            )
        return columns

    def _same_ids(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Refuse text where the data have integers, and what cannot be stored, before any event is taken in."""
        columns = {"user_id": self.catalogue.users.ids, "item_id": self.catalogue.items.ids, **self.catalogue.context}
        for key, vocabulary in columns.items():
            integers = not vocabulary.is_text and len(vocabulary) > 0
            for i, event in enumerate(events):
                given = _word(event.get(key))
                if given is None:
                    continue
                if not _is_id(given):
                    raise DataError(f"events[{i}]: {key} must be text or a whole number, not {given!r}")
                own = vocabulary.like(given)
                if integers and isinstance(own, str):
                    raise DataError(f"events[{i}]: {key} {given!r} is text, but the ids of this bundle are integers")
                if isinstance(own, int) and not -(2**63) <= own < 2**63:
                    raise DataError(f"events[{i}]: {key} {given!r} is too large for an id")

    def trace(self, request: Mapping[str, Any], item_id: Any) -> dict[str, Any]:
        """Why an item is in the answer of a request, or why not: missed, filtered by whom, or at which place it was ranked."""
        batch, k, exclude = self.checked(request)
        code = self.catalogue.items.ids.code(item_id)
        if code < 0:
            return {"item_id": item_id, "found": False, "reason": "unknown item"}
        if code in exclude:
            return {"item_id": item_id, "found": False, "reason": "excluded by the request"}
        trace = Trace()
        self._answer(batch, k, exclude, trace)
        return {"item_id": item_id, **trace.why(code, list(self.pipeline.filters))}


def _is_id(value: object) -> bool:
    """Is it text or a whole number?"""
    return isinstance(value, str | int | np.integer) and not isinstance(value, bool)


def _word(value: object) -> object:
    """A context value as a table would hold it: a truth value is the text that a column of them is read as."""
    return str(value).lower() if isinstance(value, bool) else value
