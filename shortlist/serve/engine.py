"""The engine: a bundle, its state and perhaps a log, in one process. `recommend` answers, `track` learns; the next answer knows."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from shortlist.core import rows
from shortlist.core.batch import Array, Batch, Columns, concat
from shortlist.core.contracts import Mask
from shortlist.core.errors import ConfigError, DataError
from shortlist.data.catalogue import Catalogue
from shortlist.pipeline.answer import found_by, table
from shortlist.pipeline.bundle import Bundle
from shortlist.pipeline.limits import Serve
from shortlist.pipeline.pipeline import PROPENSITY, Pipeline, Run, plainly
from shortlist.pipeline.resilient import POPULAR, Outcome, Resilient, Work
from shortlist.pipeline.trace import Trace
from shortlist.serve import ask, entry, told
from shortlist.serve.ask import MOST, Asked, Filters
from shortlist.serve.digest import digests, of_names
from shortlist.serve.eventlog.codec import encode
from shortlist.serve.eventlog.contract import Entry, LogError
from shortlist.serve.follower import Follower
from shortlist.serve.likeness import similar
from shortlist.serve.parallel import in_order
from shortlist.serve.record import Recorder
from shortlist.state.state import State

if TYPE_CHECKING:
    from shortlist.serve.traces import Traces

__all__ = ["MOST", "Engine"]

REQUEST = "the request"  # who dropped what the request did not allow


class Engine(Follower):
    """The same pipeline and state that were trained and measured, for one request at a time or for many. Not for several threads at a
    time: whoever has several puts requests in turn.

    clock: gives "now" in unix seconds for requests and events without a time; by default the time of the latest event known,
    so that a bundle of old data answers as of its data. surface: the name that answers carry in the log.
    """

    def __init__(
        self, pipeline: Pipeline, state: State, *, k: int = 10, chunk: int = 256, context: Sequence[str] = (),
        name: str = "", clock: Callable[[], float] | None = None, surface: str = "default", impression: str = "",
        serve: Serve | None = None,
    ) -> None:  # fmt: skip
        super().__init__(pipeline, state, name, impression)
        self.serve = serve or Serve()
        self.resilient: Resilient | None = None
        self.observe: Callable[[str, Trace | None, list[str]], None] | None = None  # told of every answer: figures
        self.k = k
        self.chunk = chunk
        self.context = tuple(context)
        self.surface = surface
        self.traces: Traces | None = None  # where it keeps why answers are as they are
        self.known_users = len(state.catalogue.users)  # of the bundle: codes below it
        self._clock = clock
        self._recorder: Recorder | None = None
        self._filters = Filters()
        self._draws = any(hasattr(rule, "drawn") for rule in pipeline.rules.values())
        self._prefix, self._serial = secrets.token_hex(6), 0

    @classmethod
    def load(
        cls, folder: str | Path, *, verify: bool = True, clock: Callable[[], float] | None = None, surface: str = "default",
    ) -> Engine:  # fmt: skip
        """An engine on a bundle folder."""
        return cls.of(Bundle.load(Path(folder), verify), clock=clock, surface=surface)

    @classmethod
    def of(
        cls, bundle: Bundle, *, clock: Callable[[], float] | None = None, surface: str = "default"
    ) -> Engine:  # fmt: skip
        """An engine on a bundle in memory."""
        recipe = bundle.recipe
        kind = recipe.data.impression
        return cls(
            bundle.pipeline, bundle.state, k=recipe.pipeline.k, chunk=recipe.pipeline.chunk, context=recipe.data.context,
            name=bundle.name, clock=clock, surface=surface, impression=kind if kind in bundle.state.catalogue.kinds else "",
            serve=recipe.serve,
        )  # fmt: skip

    def protect(self) -> None:
        """From now on answers come by the recipe's deadline, whatever a part does, and say in `degraded` what they did without. Before
        that, an error of a part is an error."""
        self.resilient = Resilient(self.pipeline, self.serve)

    @property
    def catalogue(self) -> Catalogue:
        """Items, users, event kinds and context values, as known now."""
        return self.state.catalogue

    def now(self) -> int:
        """Unix seconds of a request or event that does not say."""
        return int(self._clock()) if self._clock is not None else max(self.state.now, 0)

    # Answers

    def recommend(
        self, request: Mapping[str, Any], *, since: float | None = None, deadline: float | None = None, variant: str = "",
        put: Callable[[entry.Served], None] | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Answer one request: `{"user_id", "k", "time", "context": {}, "exclude": [item ids], "filter": {}, "explain": bool}`, all
        optional; filter: see `ask.matching`.

        Returns `{"user_id", "items": [{"item_id", "score", "why" if asked to explain}], "time", "bundle", "took_ms"}`. An unknown user, and a
        short list, are not errors. While the engine records or follows a log, the answer has a `request_id`, too, and says in `degraded`
        what it had to do without. since: when it arrived (of `time.perf_counter`; now); deadline: seconds from then, where the engine is
        protected (the recipe's). variant: of the experiments that it is part of, for the log; put: who gets what would go into the log.
        """
        started = time.perf_counter()
        degraded = self._ready()
        asked = self.asked(request)
        explain = bool(request.get("explain"))
        recorded = self._recorder is not None
        trace = Trace(whole=recorded) if explain or recorded or self.writer is not None else None
        outcome = self.answered(asked, trace, started if since is None else since, deadline)
        answer, degraded = outcome.answer, [*degraded, *outcome.degraded]
        propensity = answer.cand[PROPENSITY].tolist() if PROPENSITY in answer.cand else None
        names = self.catalogue.items.ids
        items: list[dict[str, Any]] = []
        for place, (code, score) in enumerate(zip(answer.item.tolist(), answer.cand["score"].tolist(), strict=True)):
            shown: dict[str, Any] = {"item_id": names.name(code), "score": score}
            if propensity is not None:
                shown["propensity"] = propensity[place]
            if trace is not None and explain:
                shown["why"] = trace.why(code, [*self.pipeline.filters, REQUEST])
            items.append(shown)
        made: dict[str, Any] = {
            "user_id": request.get("user_id"),
            "items": items,
            "time": int(asked.batch.time[0]),
            "bundle": self.name,
        }
        if trace is not None and self._recorder is not None:
            made["request_id"] = self._recorded(asked, trace)
        if self.writer is not None or self.resilient is not None:
            made["degraded"] = degraded
        self._finish("recommend", made, asked, answer, trace, degraded, variant, put)
        return {**made, "took_ms": round(1000 * (time.perf_counter() - started), 3)}

    def _finish(
        self, call: str, made: dict[str, Any], asked: Asked, answer: Batch, trace: Trace | None, degraded: list[str],
        variant: str, put: Callable[[entry.Served], None] | None,
    ) -> None:  # fmt: skip
        """An answer goes into the log and the traces, under an id that it has then, and into the figures."""
        if self.writer is not None:
            made.setdefault("request_id", self.request_id())
            self._served(call, asked, made["request_id"], answer, trace, degraded, variant, put or self.put)
            if self.traces is not None and trace is not None and self.hasher is not None:
                user, found = self.hasher(asked.request["user_id"]), list(self.pipeline.sources)
                about = (made["request_id"], self.surface, self.name, self.epoch, asked.request)
                self.traces.add(trace, *about, found, user)
        if self.observe is not None:
            self.observe(self.surface, trace, degraded)

    def _ready(self) -> list[str]:
        """All that the log holds is folded in; where the log is away, the answer is as of what was known, and says so."""
        try:
            self.catch_up()
        except LogError:
            return ["log"]
        return []

    def request_id(self) -> str:
        """A new name for an answer, that no other worker gives."""
        if self.traces is not None:
            return self.traces.name()
        self._serial += 1
        return f"{self._prefix}-{self._serial}"

    def asked(self, request: Mapping[str, Any]) -> Asked:
        """A request, checked, as a batch of one. ConfigError for a bad one."""
        return ask.asked(request, self.catalogue, self.context, self.k, self.now, self._filters)

    def answer(self, asked: Asked, trace: Trace | None = None) -> Batch:
        """The pipeline's answer without the excluded items: asked for as many more, so that the list is not short for it. Where it is
        short all the same, and where a rule draws (what is not shown must not be drawn), the sources are told not to search for them."""
        return self.answered(asked, trace).answer

    def answered(
        self, asked: Asked, trace: Trace | None = None, since: float | None = None, deadline: float | None = None
    ) -> Outcome:
        """The same, with what it had to do without, where the engine is protected."""
        exclude, k, pipeline = asked.exclude, asked.k, self.pipeline

        def ask(size: int, pushed: bool) -> Outcome:
            ban = asked.ban(pushed)

            def work(trace: Trace, run: Run, light: bool) -> Batch:
                return pipeline.recommend(asked.batch, self.state, size, trace, ban, run, light)

            return self._protected(work, asked.batch, size, trace, ban, since, deadline)

        if not len(exclude) or self._draws:
            return ask(k, True)
        answer, degraded = ask(k + len(exclude), False)
        answer = answer.keep(Mask(None, np.array([0, len(exclude)]), exclude).allows(answer))
        if answer.m < k:
            answer, degraded = ask(k, True)
        answer = answer.take(np.flatnonzero(rows.run_place(answer.offsets) < k))
        if trace is not None:
            trace.answer = answer
        return Outcome(answer, degraded)

    def _protected(
        self, work: Work, batch: Batch, k: int, trace: Trace | None, ban: Mask | None, since: float | None, deadline: float | None,
        items: Array | None = None,
    ) -> Outcome:  # fmt: skip
        """An answer by the deadline, where the engine is protected: see `Resilient.answered`."""
        if self.resilient is None:
            return Outcome(work(trace if trace is not None else Trace(whole=False), plainly, False), ())
        return self.resilient.answered(
            work, batch, self.state, k, trace, ban, items=items, since=since, deadline=deadline
        )

    def rank(
        self, request: Mapping[str, Any], *, since: float | None = None, deadline: float | None = None, variant: str = "",
        put: Callable[[entry.Served], None] | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Given items in the order of the ranker: a request as for `recommend`, with `items` instead of exclude and filter; k: how many of them
        are shown, all when not given. Those that a filter drops, that nobody knows, and that come after the k-th are told in `left_out` with the
        reason. Rules do not apply: nothing is taken out or moved. The rest as for `recommend`."""
        started = time.perf_counter()
        degraded = self._ready()
        listed = request.get("items")
        if not isinstance(listed, list | tuple) or not 1 <= len(listed) <= MOST or not all(map(told.is_id, listed)):
            raise ConfigError(f"request: items must be a list of 1 to {MOST} item ids")
        asked = self.asked({"k": len(listed), **{key: value for key, value in request.items() if key != "items"}})
        asked.request["items"] = list(listed)
        trace = Trace(whole=False)
        outcome = self.ranked(asked, trace, since, deadline)
        answer, degraded = outcome.answer, [*degraded, *outcome.degraded]
        names, shown = self.catalogue.items.ids, set(answer.item.tolist())
        left_out = [{"item_id": name, "reason": "unknown item"} for name in listed if names.code(name) < 0]
        for code in sorted(set(names.codes(listed).tolist()) - shown - {-1}):
            reason = trace.why(code, [*self.pipeline.filters, REQUEST])["reason"]
            if POPULAR in outcome.degraded:  # of which the trace knows what is shown, and nothing else
                reason = "filtered, or below the answer: the ranker was not asked"
            left_out.append({"item_id": names.name(code), "reason": reason})
        made: dict[str, Any] = {
            "user_id": request.get("user_id"),
            "items": self._listed(answer),
            "left_out": left_out,
            "bundle": self.name,
            "degraded": degraded,
        }
        self._finish("rank", made, asked, answer, trace, degraded, variant, put)
        return {**made, "took_ms": round(1000 * (time.perf_counter() - started), 3)}

    def ranked(
        self, asked: Asked, trace: Trace, since: float | None = None, deadline: float | None = None
    ) -> Outcome:  # fmt: skip
        """The items of a request to `rank`, in order."""
        names = self.catalogue.items.ids
        codes = names.codes(list(dict.fromkeys(names.like(name) for name in asked.request["items"])))
        codes = codes[codes >= 0]
        if not len(codes):
            trace.pool = trace.scored = trace.ranked = trace.answer = self._nobody(asked)
            trace.dropped = np.zeros(0, dtype=np.int64)
            return Outcome(trace.answer, ())

        def work(trace: Trace, run: Run, light: bool) -> Batch:
            items = codes.reshape(1, -1)
            return self.pipeline.reorder(asked.batch, self.state, items, asked.k, trace, asked.ban(), run, light)

        return self._protected(work, asked.batch, asked.k, trace, asked.ban(), since, deadline, codes)

    def similar(
        self, request: Mapping[str, Any], *, since: float | None = None, deadline: float | None = None, variant: str = "",
        put: Callable[[entry.Served], None] | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Items like one: `{"item_id", "k", "exclude", "filter", "context", "time"}`; what the pipeline's sources find for somebody who has met
        that item alone (see `likeness`). One that nobody knows has none, which is no error. user_id: who sees it, for the log; the answer
        does not depend on it. The rest as for `recommend`."""
        started = time.perf_counter()
        degraded = self._ready()
        name = request.get("item_id")
        if not told.is_id(name):
            raise ConfigError(f"request: item_id must be an id, not {name!r}")
        asked = self.asked({key: value for key, value in request.items() if key != "item_id"})
        asked.request["item_id"] = name
        trace = Trace(whole=False)
        outcome = self.alike(asked, trace, since, deadline)
        answer, degraded = outcome.answer, [*degraded, *outcome.degraded]
        sources = found_by(answer, list(self.pipeline.sources))
        items = [
            {**item, "sources": by.split("|") if by else []}
            for item, by in zip(self._listed(answer), sources, strict=True)
        ]
        made: dict[str, Any] = {"item_id": name, "items": items, "bundle": self.name, "degraded": degraded}
        self._finish("similar", made, asked, answer, trace, degraded, variant, put)
        return {**made, "took_ms": round(1000 * (time.perf_counter() - started), 3)}

    def alike(
        self, asked: Asked, trace: Trace, since: float | None = None, deadline: float | None = None
    ) -> Outcome:  # fmt: skip
        """The items like the one of a request to `similar`."""
        code = self.catalogue.items.ids.code(asked.request["item_id"])
        if code < 0:
            trace.pool = trace.scored = trace.ranked = trace.answer = self._nobody(asked)
            trace.dropped = np.zeros(0, dtype=np.int64)
            return Outcome(trace.answer, ())
        own = np.array([code, *asked.exclude.tolist()], dtype=np.int32)
        ban = Mask(asked.only, np.array([0, len(own)], dtype=np.int64), own)

        def work(trace: Trace, run: Run, light: bool) -> Batch:
            return similar(self.pipeline, self.state, asked.batch, code, asked.k, ban, trace, run)

        return self._protected(work, asked.batch, asked.k, trace, ban, since, deadline)

    def again(self, call: str, request: Mapping[str, Any], trace: Trace) -> Batch:
        """The answer to a request as the log has it, computed as of now."""
        own = {name: request[name] for name in ("items", "item_id") if name in request}
        asked = self.asked({name: value for name, value in request.items() if value is not None and name not in own})
        asked.request |= own
        answer = {"recommend": self.answered, "rank": self.ranked, "similar": self.alike}[call]
        return answer(asked, trace).answer

    def _listed(self, answer: Batch) -> list[dict[str, Any]]:
        """Ids and scores of an answer."""
        names = self.catalogue.items.ids
        pairs = zip(answer.item.tolist(), answer.cand["score"].tolist(), strict=True)
        return [{"item_id": names.name(code), "score": score} for code, score in pairs]

    def _nobody(self, asked: Asked) -> Batch:
        """An answer without items."""
        blank: Array = np.zeros(0, dtype=np.float32)
        ranks = {f"{what}_{name}": blank for name in self.pipeline.sources for what in ("rank", "score")}
        return Batch(
            asked.batch.req, np.zeros(2, dtype=np.int64), {"item": np.zeros(0, dtype=np.int32), "score": blank, **ranks}
        )

    def put(self, content: entry.Served) -> None:
        """Hand an answer to the log. It does not wait for the disk; what finds no room is counted."""
        if self.writer is not None:
            self.writer.put(Entry(entry.SERVED, encode(content), request=content.request_id))

    def _served(
        self, call: str, asked: Asked, request_id: str, answer: Batch, trace: Trace | None, degraded: list[str], variant: str,
        put: Callable[[entry.Served], None],
    ) -> None:  # fmt: skip
        """The answer as the impressions that it is."""
        item, scored, names, columns = self.catalogue.items.ids, None if trace is None else trace.scored, 0, b""
        if scored is not None:  # an emergency answer has no ranker
            listed, sums = digests(scored)
            names, columns = of_names(listed), sums.tobytes()
        content = entry.Served(
            request_id=request_id, surface=self.surface, bundle=self.name, variant=variant, user_id=asked.request["user_id"],
            time=asked.request["time"], after=self.position, request=asked.request,
            items=[item.name(code) for code in answer.item.tolist()], scores=answer.cand["score"].tolist(),
            sources=found_by(answer, list(self.pipeline.sources)),
            propensity=answer.cand.get(PROPENSITY, np.ones(answer.m)).tolist(), degraded=degraded,
            rows=0 if scored is None else scored.m, columns=columns, names=names, call=call,
        )  # fmt: skip
        put(content)

    def record(self, folder: str | Path, **options: Any) -> Recorder:
        """From now on keep every answer to `recommend`, with all that the ranker saw, and every event that `track` is given: so that
        `shortlist parity` can compute them again. Events from before are not there, so record from the start. options: those of
        `Recorder`. Returns the recorder: flush or close it when done. BundleError for a folder with other things in it."""
        self._recorder = Recorder(Path(folder), self.name, self.catalogue, **options)
        return self._recorder

    def _recorded(self, asked: Asked, trace: Trace) -> str:
        """The request's id in the record."""
        assert self._recorder is not None
        assert trace.ranked is not None
        assert trace.answer is not None
        return self._recorder.request(self.state.count, asked.request, trace.ranked, trace.answer)

    def trace(self, request: Mapping[str, Any], item_id: Any) -> dict[str, Any]:
        """Why an item is in the answer of a request, or why not: missed, filtered by whom, or at which place it was ranked."""
        self._ready()
        asked = self.asked(request)
        code = self.catalogue.items.ids.code(item_id)
        if code < 0:
            return {"item_id": item_id, "found": False, "reason": "unknown item"}
        if code in asked.exclude:
            return {"item_id": item_id, "found": False, "reason": "excluded by the request"}
        trace = Trace(whole=False)
        self.answer(asked, trace)
        return {"item_id": item_id, **trace.why(code, [*self.pipeline.filters, REQUEST])}

    def recommend_all(
        self, users: Iterable[Any] | None = None, k: int | None = None, at: Any = None,
        progress: Callable[..., Iterable[Any]] | None = None,
    ) -> pl.DataFrame:  # fmt: skip
        """Answers for many users (all known ones by default) at one time: user_id, item_id, rank, score, source. ConfigError for
        a k below 1, a time that is none, or one text where a list of ids belongs.

        `chunk` users are answered together, a chunk per core at a time. Memory: what the pipeline takes for as many requests, and
        the answer.
        """
        k = self.k if k is None else k
        if k < 1:
            raise ConfigError(f"recommend: k must be at least 1, not {k}")
        if isinstance(users, str):
            raise ConfigError(f"recommend: users must be a list of ids, not {users!r}")
        names = self.catalogue.users.ids.series().to_list() if users is None else list(users)
        moment = told.seconds(at, self.now, "request", ConfigError)
        there = self.catalogue.items.there()
        ban = None if there is None else Mask(there)
        starts = list(range(0, len(names), self.chunk)) or [0]

        def answer(start: int) -> Batch:
            batch = ask.many(names[start : start + self.chunk], moment, {}, self.catalogue, self.context)
            return self.pipeline.recommend(batch, self.state, k, ban=ban)

        steps = in_order(answer, starts)
        parts = list(progress(steps, "recommend", len(starts)) if progress is not None else steps)
        return table(concat(parts), self._ids(names), self.catalogue.items.ids, list(self.pipeline.sources))

    def _ids(self, users: Sequence[Any]) -> pl.Series:
        """Outside ids as a column. One that cannot be theirs (text where they are integers) makes it text: it must not be lost."""
        own = self.catalogue.users.ids
        names = [own.like(user) for user in users]
        text = own.is_text or any(isinstance(name, str) for name in names)
        return pl.Series([str(name) if text else name for name in names], dtype=pl.String if text else pl.Int64)

    # Events

    def moment(self, at: Any, where: str) -> int:
        """Unix seconds of an event's time; now when there is none."""
        return told.seconds(at, self.now, where, DataError)

    def track(self, events: Iterable[Mapping[str, Any]], key: str = "") -> int:
        """Learn from events, in the order given: `{"user_id", "item_id", "event", "time", "value", ...context}`, and `request_id` and
        `position` of the answer that they belong to. New users and items are taken in. All are checked before any is: DataError names the
        first bad one. With a log they are durable when this returns; a batch under a `key` that the log knows is not taken in again
        (KeyUsed where it was another batch). Returns how many were taken in."""
        content = told.columns(list(events), self.catalogue, self.context)
        sent = encode(content) if key else b""
        content = told.checked(content, [self.catalogue], self.moment)
        if self.writer is not None:
            ack = self.append(entry.EVENTS, content, key, sent)
            return 0 if ack.duplicate else len(content.time)
        columns, first = told.coded(content, self.catalogue), self.state.count
        self.state.apply(columns)
        if self._recorder is not None:
            self._recorder.events(first, columns)
        return len(content.time)

    def encoded(self, events: Sequence[Mapping[str, Any]]) -> Columns:
        """Events as log columns; checked first, so that a bad batch changes nothing."""
        content = told.columns(events, self.catalogue, self.context)
        return told.coded(told.checked(content, [self.catalogue], self.moment), self.catalogue)
