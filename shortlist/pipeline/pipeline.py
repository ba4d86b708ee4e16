"""The pipeline: retrieve, merge, filter, features, rank, order. The only code that changes a batch; it knows no concrete part.
Training, backtests and live requests all call the same methods."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from time import perf_counter
from typing import Any, Protocol, TypeVar

import numpy as np

from shortlist.core import rows
from shortlist.core.batch import Array, Batch, Columns
from shortlist.core.component import learned, parameters
from shortlist.core.contracts import FitContext, Fold, Hits, Mask
from shortlist.core.errors import ConfigError
from shortlist.core.rng import rng
from shortlist.core.units import iso
from shortlist.pipeline.calibrated import Calibrated
from shortlist.pipeline.config import Recipe
from shortlist.pipeline.learned import Learned
from shortlist.pipeline.limits import Limit, of
from shortlist.pipeline.merge import best, chosen, given, merge
from shortlist.pipeline.quota import Quota, most, search, segments
from shortlist.pipeline.trace import Trace
from shortlist.state import needs
from shortlist.state.state import State

# Candidate columns that are no features. The place on the slate is known only after the order is decided, which is what the ranker is
# for: a model that learned from it would ask for it when serving.
NO_FEATURE = ("item", "position")
PROPENSITY = (
    "propensity"  # of what an exploring rule placed, given what stands above it: float64, only where a rule draws
)
Made = TypeVar("Made")


class Run(Protocol):
    """How a part is called. Offline plainly; a service may go on without one that fails or takes too long, and gets None then."""

    def __call__(self, place: str, call: Callable[[], Made]) -> Made | None:
        """What the call makes; None where the answer must do without the part at this place (`source.ease`)."""
        ...


def plainly(place: str, call: Callable[[], Made]) -> Made | None:
    """Just call: an error is an error."""
    return call()


MERGES: dict[str, Any] = {"interleave": None, "calibrated": Calibrated, "learned": Learned}


@dataclass
class Pipeline:
    """The parts in order. `columns`: the candidate columns that rankers use, in order, set when a frame is first made. limits: what a service
    does when a part fails, by place.
    given: requests come with their candidates (impressions): sources only score them, and nothing is dropped. fallback: "" = rank with the ranker; a source's name = order by that source (the guard's verdict).
    merger: what a fitted merge has learned; None = in turns by rank. edges: history lengths at which a user becomes light, and heavy."""

    sources: dict[str, Any]
    quotas: dict[str, Quota]
    filters: dict[str, Any] = field(default_factory=dict)
    features: dict[str, Any] = field(default_factory=dict)
    rankers: dict[str, Any] = field(default_factory=dict)
    keeps: dict[str, int] = field(default_factory=dict)
    rules: dict[str, Any] = field(default_factory=dict)
    pool: int = 500
    seed: int = 0
    given: bool = False
    fallback: str = ""
    columns: tuple[str, ...] = ()
    merger: Any = None
    edges: tuple[int, int] = (1, 20)
    limits: dict[str, Limit] = field(default_factory=dict)
    _shapes: dict[str, dict[str, Any]] = field(default_factory=dict, init=False)  # feature -> the types of its columns

    @classmethod
    def of(cls, recipe: Recipe) -> Pipeline:
        """The pipeline that a recipe describes, not fitted yet."""
        merger, edges = MERGES[recipe.pipeline.merge], recipe.pipeline.segments
        return cls(
            recipe.sources, recipe.quotas, recipe.filters, recipe.features, recipe.rankers, recipe.keeps, recipe.rules,
            recipe.pipeline.pool, recipe.seed, recipe.pipeline.candidates == "impressions", limits=recipe.limits,
            merger=None if merger is None else merger(), edges=(edges[0], edges[1]),
        )  # fmt: skip

    def parts(self) -> Iterator[tuple[str, Any]]:
        """Every part with its place: `source.ease`, `feature.counts` ..."""
        for stage in ("source", "filter", "feature", "ranker", "rule"):
            for name, part in getattr(self, f"{stage}s").items():
                yield f"{stage}.{name}", part
        if self.merger is not None:
            yield "merge", self.merger

    def folds(self, ctx: FitContext) -> list[Fold]:
        """The aggregates that the parts read: see `needs.aggregates`."""
        return needs.aggregates(self.parts(), ctx)

    def bounds(self) -> dict[tuple[str, ...], int]:
        """How many values of keys the parts want kept: see `needs.bounds`."""
        return needs.bounds(self.parts())

    def fit(self, log: Any, ctx: FitContext) -> None:
        """Fit everything but the rankers on a log that ends before `ctx.now`."""
        parts = [
            (place, part) for place, part in self.parts() if hasattr(part, "fit") and not place.startswith("ranker.")
        ]
        for place, part in ctx.progress(parts, f"fit as of {iso(ctx.now)}", len(parts)):
            part.fit(log, replace(ctx, place=place))

    def stepped(self, log: Any, ctx: FitContext, since: int) -> Pipeline:
        """A copy whose sources have moved with the log where they can (`stepped` of the part), all else shared: between two fits, for a
        service, which exchanges one reference. since: unix seconds of the last fit or step."""
        sources = {
            name: part.stepped(log, replace(ctx, place=f"source.{name}"), since) if hasattr(part, "stepped") else part
            for name, part in self.sources.items()
        }
        return replace(self, sources=sources)

    def rebuilt(self, log: Any, ctx: FitContext) -> Pipeline:
        """A copy with sources, filters, features and rules fitted again on a log that ends before `ctx.now`, the rankers and what the merge has
        learned shared. The parts of this pipeline stay as they are, so that it can answer meanwhile. The new parts must read the
        aggregates that the state keeps already: they are those of the same recipe."""
        stages = {
            stage: {
                name: type(part)(**{option.name: getattr(part, option.name) for option in parameters(part)})
                for name, part in getattr(self, stage).items()
            }
            for stage in ("sources", "filters", "features", "rules")
        }
        made = replace(self, **stages)  # type: ignore[arg-type]
        made.folds(ctx)  # parts work out which aggregates they read
        made.fit(log, ctx)
        return made

    def retrieve(
        self, batch: Batch, state: State, trace: Trace | None = None, ban: Mask | None = None, run: Run = plainly,
        items: Array | None = None,
    ) -> Batch:  # fmt: skip
        """Candidates of n requests: sources, merge, filters. Context values that no event has brought yet are unknown, also
        where a log encoded at once has a code for them. ban: what the requests themselves do not allow, besides the filters. items: (n, k)
        codes, -1 = none: these are the candidates, whatever the sources find."""
        timed = _timer(trace)
        context = {name: state.known(name, batch.req[name]) for name in state.catalogue.context if name in batch.req}
        batch = Batch({**batch.req, **context}, batch.offsets, batch.cand) if context else batch
        with timed("filters"):
            mask = self._mask(batch, state, ban, run)
        segment = None
        if self.merger is not None or any(isinstance(quota, dict) for quota in self.quotas.values()):
            segment = segments(batch, state, self.edges)
        hits = []
        for name, source in self.sources.items():
            place = f"source.{name}"
            with timed(place):
                found = run(place, partial(search, source, batch, state, self.quotas[name], segment, mask))
                hits.append(found if found is not None else nothing(batch.n))
            if trace is not None and found is not None and hasattr(source, "plan"):
                trace.plans[name] = source.plan(most(self.quotas[name]), mask)
        with timed("merge"):
            if self.given:
                pool = given(self._named(batch), list(self.sources), hits)
            elif items is not None:
                pool = chosen(batch, list(self.sources), hits, items, len(state.catalogue.items))
                pool = self._with_chance(pool, segment)
            else:
                pool = self._merged(batch, hits, len(state.catalogue.items), segment, trace)
        with timed("filters"):
            return self.sieve(pool, state, ban, run, trace)

    def _merged(
        self, batch: Batch, hits: list[Hits], size: int, segment: Array | None, trace: Trace | None
    ) -> Batch:  # fmt: skip
        """One pool per request, of all that was found: in turns by rank, or the best by the fitted merge (and its `chance` as a
        column; NaN as long as it has learned nothing)."""
        names = list(self.sources)
        if self.merger is None or segment is None:
            return merge(batch, names, hits, self.pool, size)
        union = merge(batch, names, hits, sum(found.items.shape[1] for found in hits), size)
        evidence = self.merger.rows(union, names, segment)
        if trace is not None:
            trace.union, trace.evidence = union, evidence
        if self.merges:
            return best(union, self.merger.chance(evidence), self.pool)
        pool = merge(batch, names, hits, self.pool, size)
        return pool.with_columns({"chance": np.full(pool.m, np.nan, dtype=np.float32)})

    def _with_chance(self, pool: Batch, segment: Array | None) -> Batch:
        """Candidates with the column of the fitted merge, where there is one."""
        if self.merger is None or segment is None:
            return pool
        chance = np.full(pool.m, np.nan, dtype=np.float32)
        if self.merges:
            chance = self.merger.chance(self.merger.rows(pool, list(self.sources), segment))
        return pool.with_columns({"chance": chance})

    @property
    def merges(self) -> bool:
        """Has the fitted merge, if there is one, been fitted?"""
        return self.merger is not None and all(getattr(self.merger, name) is not None for name in learned(self.merger))

    def _named(self, batch: Batch) -> Batch:
        """The batch, or a ConfigError when its requests name nothing to rank."""
        if not batch.m and batch.n:
            raise ConfigError(
                "pipeline.candidates = 'impressions': this pipeline ranks the items that requests come with, and these have none"
            )
        return batch

    def _mask(self, batch: Batch, state: State, ban: Mask | None = None, run: Run = plainly) -> Mask | None:
        """What the filters, and the requests, can tell the sources beforehand."""
        shared: Array | None = None
        bans: list[Mask] = []
        told = [
            run(f"filter.{name}", partial(part.mask, batch, state))
            for name, part in self.filters.items()
            if hasattr(part, "mask")
        ]
        for mask in (*told, ban):
            if mask is None:
                continue
            if mask.shared is not None:
                shared = mask.shared if shared is None else shared & mask.shared
            if mask.offsets is not None:
                bans.append(mask)
        if shared is None and not bans:
            return None
        offsets, items = _joined(bans, batch.n) if bans else (None, None)
        return Mask(shared, offsets, items)

    def _dropped(self, pool: Batch, state: State, ban: Mask | None, run: Run) -> Array | None:
        """(m,) index of the first filter that drops a row, -1 = kept; None when nothing is dropped. What the requests do not allow counts
        as one more filter, after the last."""
        dropped: Array | None = None
        calls = {f"filter.{name}": partial(part.keep, pool, state) for name, part in self.filters.items()}
        kept = [(place, run(place, call)) for place, call in calls.items()]
        if ban is not None:
            kept.append(("", ban.allows(pool)))
        for i, (place, keep) in enumerate(kept):
            if keep is None:
                keep = np.full(pool.m, of(self.limits, place).on_error == "keep")
            out = ~keep
            if out.any():
                if dropped is None:
                    dropped = np.full(pool.m, -1, dtype=np.int64)
                dropped[out & (dropped < 0)] = i
        return dropped

    def allowed(self, batch: Batch, state: State) -> Array:
        """(m,) bool: rows that no filter would drop."""
        keep = np.ones(batch.m, dtype=bool)
        for part in self.filters.values():
            keep &= part.keep(batch, state)
        return keep

    def sieve(
        self, batch: Batch, state: State, ban: Mask | None = None, run: Run = plainly, trace: Trace | None = None
    ) -> Batch:
        """The rows that no filter drops, and that the requests allow, in their order."""
        dropped = self._dropped(batch, state, ban, run)
        if trace is not None:
            trace.pool = batch
            trace.dropped = np.full(batch.m, -1, dtype=np.int64) if dropped is None else dropped
        return batch if dropped is None else batch.keep(dropped < 0)

    def add_features(
        self,
        batch: Batch,
        state: State,
        trace: Trace | None = None,
        reads_state: bool | None = None,
        run: Run = plainly,
    ) -> Batch:
        """The batch with every feature family's columns. reads_state: only of the families that do (a replay asks them request by
        request), or then of those that say they do not (which may be asked for many moments at once)."""
        columns: Columns = {}
        complete = True
        seconds = trace.seconds if trace is not None else {}
        for name, part in self.features.items():
            if reads_state is not None and getattr(part, "reads_state", True) != reads_state:
                continue
            place, start = f"feature.{name}", perf_counter()
            made = run(place, partial(part.compute, batch, state))
            if made is None:
                complete, made = False, self._missing(name, batch.m)
            elif name not in self._shapes:
                self._shapes[name] = {column: values.dtype for column, values in made.items()}
            before = len(columns)
            columns.update(made)
            if len(columns) < before + len(made):
                raise self._twice(batch, reads_state)
            seconds[place] = seconds.get(place, 0.0) + perf_counter() - start
        if not complete:  # of a part that never worked, nobody knows the types: numbers, then
            known = {*columns, *batch.cand}
            columns |= {name: _absent(np.float32, batch.m) for name in self.columns if name not in known}
        made_batch = batch.with_columns(columns)
        if len(made_batch.cand) < len(batch.cand) + len(columns):
            raise self._twice(batch, reads_state)
        if complete and not self.columns and reads_state is not True:
            self.columns = tuple(name for name in made_batch.cand if name not in NO_FEATURE)
        return made_batch

    def _twice(self, batch: Batch, reads_state: bool | None) -> ConfigError:
        """Which feature's column was there before."""
        known = set(batch.cand)
        for name, part in self.features.items():
            if reads_state is None or getattr(part, "reads_state", True) == reads_state:
                own = self._shapes.get(name, {})
                for column in own:
                    if column in known:
                        return ConfigError(
                            f"feature {name!r}: the column {column!r} exists already; drop the feature or give it other options"
                        )
                known |= own.keys()
        raise AssertionError("no column is there twice")

    def _missing(self, name: str, m: int) -> Columns:
        """A feature's columns without its values."""
        return {column: _absent(dtype, m) for column, dtype in self._shapes.get(name, {}).items()}

    def rank(self, batch: Batch, trace: Trace | None = None, whole: bool = True, run: Run = plainly) -> Batch:
        """Survivors with the column `score` (float32), every request in the order of its final score. whole: with every
        column; else only those that go on to the answer. Without a ranker, what the one before it said stands; without any, the order
        of the sources."""
        return self._ranked(batch, {} if self.fallback else self.rankers, trace, whole, run)

    def _ranked(self, batch: Batch, rankers: dict[str, Any], trace: Trace | None, whole: bool, run: Run) -> Batch:
        timed = _timer(trace)
        with timed("rank"):
            score: Array | None = None
            for name, ranker in rankers.items():
                made = run(f"ranker.{name}", partial(ranker.score, batch))
                if made is None:
                    break
                score = np.asarray(made, dtype=np.float32)
                if self.keeps[name]:
                    chosen = rows.top(batch, score, self.keeps[name])
                    batch, score = batch.take(chosen), score[chosen]
            if score is None:
                score = self._source_score(batch)
            batch = batch.with_columns({"score": score})
            if trace is not None:
                trace.scored = batch
            if not whole:
                batch = self._slim(batch)
            return batch.take(rows.order(batch, score))

    def score(self, batch: Batch) -> Array:
        """(m,) float32 final score of rows of which no ranker leaves out any (`keep` = 0), in their own order."""
        if self.fallback or not self.rankers:
            return self._source_score(batch)
        return np.asarray(list(self.rankers.values())[-1].score(batch), dtype=np.float32)

    def _slim(self, batch: Batch) -> Batch:
        """Only the columns that go on to the rules and the answer."""
        names = ("item", "score", *(() if self.given else (f"rank_{name}" for name in self.sources)))
        return Batch(batch.req, batch.offsets, {name: batch.cand[name] for name in names})

    def _source_score(self, batch: Batch) -> Array:
        """The order of one source, its own hits first, then the others by their best rank: as a score. Without a ranker, and with a
        merge that has been fitted, that of the merge."""
        if self.merges and not self.fallback:
            return batch.cand["chance"]
        name = self.fallback or next(iter(self.sources))
        if self.given:
            return batch.cand[f"score_{name}"]
        own, best = batch.cand[f"rank_{name}"], batch.cand["best_rank"]
        score: Array = np.where(np.isfinite(own), -own, -np.float32(1e6) - best).astype(np.float32)
        return score

    def order(self, batch: Batch, state: State, k: int, trace: Trace | None = None, run: Run = plainly) -> Batch:
        """The answer: rules in turn, then the first k. Where a rule draws, with the column `propensity`."""
        timed = _timer(trace)
        with timed("rules"):
            users = state.known("user", batch.user)
            for place, rule in self.rules.items():
                generator = _generators(self.seed, place, users, batch.time)
                if hasattr(rule, "drawn"):
                    drawn = run(f"rule.{place}", partial(rule.drawn, batch, state, generator))
                    if drawn is not None:
                        batch = batch.take(drawn[0]).with_columns({PROPENSITY: drawn[1]})
                else:
                    chosen = run(f"rule.{place}", partial(rule.rows, batch, state, generator))
                    batch = batch if chosen is None else batch.take(chosen)
            if batch.n == 1:
                return batch.take(np.arange(min(k, batch.m)))
            return batch.take(np.flatnonzero(rows.run_place(batch.offsets) < k))

    def _found(self, pool: Batch, state: State, trace: Trace | None, whole: bool, run: Run, light: bool) -> Batch:
        """What the sources found, in the order of the rankers; light: in that of the sources, for which features are not needed."""
        rankers = {} if light or self.fallback else self.rankers
        if rankers:
            pool = self.add_features(pool, state, trace, run=run)
        return self._ranked(pool, rankers, trace, whole, run)

    def recommend(
        self,
        batch: Batch,
        state: State,
        k: int,
        trace: Trace | None = None,
        ban: Mask | None = None,
        run: Run = plainly,
        light: bool = False,
    ) -> Batch:
        """Answers of n requests, at most k items each, best first. ban: see `retrieve`. light: in the order of the sources, without features
        and rankers."""
        pool = self.retrieve(batch, state, trace, ban, run)
        ranked = self._found(pool, state, trace, trace is not None and trace.whole, run, light)
        answer = self.order(self._slim(ranked), state, k, trace, run)
        if trace is not None:
            trace.ranked, trace.answer = ranked, answer
        return answer

    def reorder(
        self,
        batch: Batch,
        state: State,
        items: Array,
        k: int,
        trace: Trace | None = None,
        ban: Mask | None = None,
        run: Run = plainly,
        light: bool = False,
    ) -> Batch:
        """Given items, (n, m) distinct codes, in the order of the ranker; at most k. What a filter drops is not in it; rules do not apply. ban,
        light: see `recommend`."""
        if self.given:
            batch = Batch(batch.req, np.arange(batch.n + 1) * items.shape[1], {"item": items.reshape(-1)})
        pool = self.retrieve(batch, state, trace, ban, run, items)
        ranked = self._found(pool, state, trace, False, run, light)
        answer = ranked.take(np.flatnonzero(rows.run_place(ranked.offsets) < k))
        if trace is not None:
            trace.ranked, trace.answer = ranked, answer
        return answer


def nothing(n: int) -> Hits:
    """What a source that is left out found."""
    return Hits(np.zeros((n, 0), dtype=np.int32), np.zeros((n, 0), dtype=np.float32))


def _absent(dtype: Any, m: int) -> Array:
    """A column without values: NaN for numbers, -1 for categories."""
    kind = np.dtype(dtype)
    return np.full(m, -1 if kind.kind in "iu" else np.nan, dtype=kind)


_NOTHING = nullcontext()


def _untimed(name: str) -> AbstractContextManager[None]:
    return _NOTHING


def _timer(trace: Trace | None) -> Callable[[str], AbstractContextManager[None]]:
    return trace.timed if trace is not None else _untimed


def _joined(bans: list[Mask], n: int) -> tuple[Array, Array]:
    """Several ragged ban lists as one."""
    if len(bans) == 1:
        assert bans[0].offsets is not None
        assert bans[0].items is not None
        return bans[0].offsets, bans[0].items
    owners, items = [], []
    for ban in bans:
        assert ban.offsets is not None
        assert ban.items is not None
        owners.append(np.repeat(np.arange(n), np.diff(ban.offsets)))
        items.append(ban.items)
    owner, item = np.concatenate(owners), np.concatenate(items)
    order = np.argsort(owner, kind="stable")
    return rows.offsets_of(np.bincount(owner, minlength=n)), item[order]


def _generators(seed: int, place: str, users: Array, times: Array) -> Callable[[int], np.random.Generator]:
    """Randomness of request i: from the seed, the rule, the user and the time, never from the order of calls."""
    return lambda i: rng(seed, place, int(users[i]), int(times[i]))
