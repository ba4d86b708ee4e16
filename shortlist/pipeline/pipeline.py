"""The pipeline: retrieve, merge, filter, features, rank, order. The only code that changes a batch; it knows no concrete part.
Training, backtests and live requests all call the same methods."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from shortlist.core import rows
from shortlist.core.batch import Array, Batch, Columns
from shortlist.core.contracts import FitContext, Fold, Mask
from shortlist.core.errors import ConfigError
from shortlist.core.rng import rng
from shortlist.core.units import iso
from shortlist.pipeline.config import Recipe
from shortlist.pipeline.merge import given, merge
from shortlist.pipeline.trace import Trace
from shortlist.state.form import Form
from shortlist.state.state import State

# Candidate columns that are no features. The place on the slate is known only after the order is decided, which is what the ranker is
# for: a model that learned from it would ask for it when serving.
NO_FEATURE = ("item", "position")


@dataclass
class Pipeline:
    """The parts in order. `columns`: the candidate columns that rankers use, in order, set when a frame is first made.
    given: requests come with their candidates (impressions): sources only score them, and nothing is dropped. fallback: "" = rank with the ranker; a source's name = order by that source (the guard's verdict)."""

    sources: dict[str, Any]
    quotas: dict[str, int]
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

    @classmethod
    def of(cls, recipe: Recipe) -> Pipeline:
        """The pipeline that a recipe describes, not fitted yet."""
        return cls(
            recipe.sources, recipe.quotas, recipe.filters, recipe.features, recipe.rankers, recipe.keeps, recipe.rules,
            recipe.pipeline.pool, recipe.seed, recipe.pipeline.candidates == "impressions",
        )  # fmt: skip

    def parts(self) -> Iterator[tuple[str, Any]]:
        """Every part with its place: `source.ease`, `feature.counts` ..."""
        for stage in ("source", "filter", "feature", "ranker", "rule"):
            for name, part in getattr(self, f"{stage}s").items():
                yield f"{stage}.{name}", part

    def folds(self, ctx: FitContext) -> list[Fold]:
        """The aggregates that the parts read, equal ones once. ConfigError, with the place of the part, for a key or an event kind that
        the data do not have."""
        needed: dict[str, Fold] = {}
        for place, part in self.parts():
            if hasattr(part, "folds"):
                for fold in part.folds(replace(ctx, place=place)):
                    # Here, because the state does not know whose aggregate it is, and would name that.
                    ctx.catalogue.kind_codes(fold.kinds, place)
                    Form(fold.by, ctx.catalogue, place)
                    needed.setdefault(fold.name, fold)
        return list(needed.values())

    def fit(self, log: Any, ctx: FitContext) -> None:
        """Fit everything but the rankers on a log that ends before `ctx.now`."""
        parts = [
            (place, part) for place, part in self.parts() if hasattr(part, "fit") and not place.startswith("ranker.")
        ]
        for place, part in ctx.progress(parts, f"fit as of {iso(ctx.now)}", len(parts)):
            part.fit(log, replace(ctx, place=place))

    def retrieve(self, batch: Batch, state: State, trace: Trace | None = None, ban: Mask | None = None) -> Batch:
        """Candidates of n requests: sources, merge, filters. Context values that no event has brought yet are unknown, also
        where a log encoded at once has a code for them. ban: what the requests themselves do not allow, besides the filters."""
        timed = _timer(trace)
        context = {name: state.known(name, batch.req[name]) for name in state.catalogue.context if name in batch.req}
        batch = Batch({**batch.req, **context}, batch.offsets, batch.cand) if context else batch
        with timed("filters"):
            mask = self._mask(batch, state, ban)
        hits = []
        for name, source in self.sources.items():
            with timed(f"source.{name}"):
                hits.append(source.retrieve(batch, state, self.quotas[name], mask))
        with timed("merge"):
            if self.given:
                pool = given(self._named(batch), list(self.sources), hits)
            else:
                pool = merge(batch, list(self.sources), hits, self.pool, len(state.catalogue.items))
        with timed("filters"):
            dropped = self._dropped(pool, state, ban)
            kept = pool if dropped is None else pool.keep(dropped < 0)
        if trace is not None:
            trace.pool = pool
            trace.dropped = np.full(pool.m, -1, dtype=np.int64) if dropped is None else dropped
        return kept

    def _named(self, batch: Batch) -> Batch:
        """The batch, or a ConfigError when its requests name nothing to rank."""
        if not batch.m and batch.n:
            raise ConfigError(
                "pipeline.candidates = 'impressions': this pipeline ranks the items that requests come with, and these have none"
            )
        return batch

    def _mask(self, batch: Batch, state: State, ban: Mask | None = None) -> Mask | None:
        """What the filters, and the requests, can tell the sources beforehand."""
        shared: Array | None = None
        bans: list[Mask] = []
        told = [part.mask(batch, state) for part in self.filters.values() if hasattr(part, "mask")]
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

    def _dropped(self, pool: Batch, state: State, ban: Mask | None) -> Array | None:
        """(m,) index of the first filter that drops a row, -1 = kept; None when nothing is dropped. What the requests do not allow counts
        as one more filter, after the last."""
        dropped: Array | None = None
        for i, part in enumerate([*self.filters.values(), *([] if ban is None else [ban])]):
            out = ~(part.allows(pool) if isinstance(part, Mask) else part.keep(pool, state))
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

    def add_features(
        self, batch: Batch, state: State, trace: Trace | None = None, reads_state: bool | None = None
    ) -> Batch:
        """The batch with every feature family's columns. reads_state: only of the families that do (a replay asks them request by
        request), or then of those that say they do not (which may be asked for many moments at once)."""
        timed = _timer(trace)
        columns: Columns = {}
        for name, part in self.features.items():
            if reads_state is not None and getattr(part, "reads_state", True) != reads_state:
                continue
            with timed(f"feature.{name}"):
                made = part.compute(batch, state)
                for column in made:
                    if column in columns or column in batch.cand:
                        raise ConfigError(
                            f"feature {name!r}: the column {column!r} exists already; drop the feature or give it other options"
                        )
                columns.update(made)
        made_batch = batch.with_columns(columns)
        if not self.columns and reads_state is not True:
            self.columns = tuple(name for name in made_batch.cand if name not in NO_FEATURE)
        return made_batch

    def rank(self, batch: Batch, trace: Trace | None = None, whole: bool = True) -> Batch:
        """Survivors with the column `score` (float32), every request in the order of its final score. whole: with every
        column; else only those that go on to the answer."""
        timed = _timer(trace)
        with timed("rank"):
            if self.fallback or not self.rankers:
                score = self._source_score(batch)
            for name, ranker in () if self.fallback else self.rankers.items():
                score = np.asarray(ranker.score(batch), dtype=np.float32)
                if self.keeps[name]:
                    chosen = rows.top(batch, score, self.keeps[name])
                    batch, score = batch.take(chosen), score[chosen]
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
        """The order of one source, its own hits first, then the others by their best rank: as a score."""
        name = self.fallback or next(iter(self.sources))
        if self.given:
            return batch.cand[f"score_{name}"]
        own, best = batch.cand[f"rank_{name}"], batch.cand["best_rank"]
        score: Array = np.where(np.isfinite(own), -own, -np.float32(1e6) - best).astype(np.float32)
        return score

    def order(self, batch: Batch, state: State, k: int, trace: Trace | None = None) -> Batch:
        """The answer: rules in turn, then the first k."""
        timed = _timer(trace)
        with timed("rules"):
            users = state.known("user", batch.user)
            for place, rule in self.rules.items():
                generator = _generators(self.seed, place, users, batch.time)
                batch = batch.take(rule.rows(batch, state, generator))
            if batch.n == 1:
                return batch.take(np.arange(min(k, batch.m)))
            return batch.take(np.flatnonzero(rows.run_place(batch.offsets) < k))

    def recommend(
        self, batch: Batch, state: State, k: int, trace: Trace | None = None, ban: Mask | None = None
    ) -> Batch:
        """Answers of n requests, at most k items each, best first. ban: see `retrieve`."""
        pool = self.retrieve(batch, state, trace, ban)
        if self.rankers and not self.fallback:
            pool = self.add_features(pool, state, trace)
        ranked = self.rank(pool, trace, whole=trace is not None and trace.whole)
        answer = self.order(self._slim(ranked), state, k, trace)
        if trace is not None:
            trace.ranked, trace.answer = ranked, answer
        return answer


def _untimed(name: str) -> AbstractContextManager[None]:
    return nullcontext()


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
