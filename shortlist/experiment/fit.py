"""Fit: replay the log, make a training frame at every label cut-off with the code that serves requests, train the ranker,
let the newest window judge it, and refit everything as of the prediction time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from shortlist.core import rows
from shortlist.core.batch import Array, Batch, concat
from shortlist.core.contracts import FitContext, Frame, silent
from shortlist.core.errors import ConfigError, choices
from shortlist.core.rng import rng
from shortlist.core.units import iso
from shortlist.data.dataset import Dataset
from shortlist.data.timeline import Requests, Shown, Split
from shortlist.experiment import given
from shortlist.experiment.drift import drifting
from shortlist.experiment.guard import Guard, judge, judge_given
from shortlist.experiment.merging import LEAST, REQUESTS, Lessons
from shortlist.experiment.replay import Replay, batches
from shortlist.experiment.settle import settle
from shortlist.metric.calibration import Platt, platt
from shortlist.pipeline.bundle import Bundle
from shortlist.pipeline.config import Recipe
from shortlist.pipeline.pipeline import Pipeline
from shortlist.pipeline.trace import Trace
from shortlist.state.memory import afford
from shortlist.state.state import State


@dataclass
class Fitted:
    """A pipeline fitted as of a cut-off, with the state that stands there."""

    pipeline: Pipeline
    replay: Replay
    ctx: FitContext
    recipe: Recipe
    data: Dataset
    guard: Guard | None = None
    curves: dict[str, Any] = field(default_factory=dict)
    importance: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    frame: Frame | None = None  # the ranker's last training frame, for inspection
    scale: Platt | None = None  # from the ranker's score to a probability; for given impressions only

    @property
    def state(self) -> State:
        """The state as of the last event folded in."""
        return self.replay.state

    def bundle(self) -> Bundle:
        """What is needed to serve."""
        return Bundle(self.recipe, self.pipeline, self.state, self.ctx, self.data.fingerprint)

    def save(self, folder: Path) -> None:
        """Write a bundle folder, whole or not at all."""
        self.bundle().save(folder)

    def frame_table(self) -> pl.DataFrame:
        """What the ranker learned from, to look at: a row per candidate with cutoff, user_id, item_id, time, label and every
        feature (categories as codes). Empty without a ranker."""
        if self.frame is None:
            return pl.DataFrame()
        frame, batch, catalogue = self.frame, self.frame.batch, self.data.catalogue
        return pl.DataFrame(
            {
                "cutoff": batch.spread(frame.cutoff),
                "user_id": catalogue.users.ids.names(batch.spread(batch.user)),
                "item_id": catalogue.items.ids.names(batch.item),
                "time": batch.spread(batch.time),
                "label": frame.label,
                **{name: batch.cand[name] for name in frame.features},
            }
        )


def positive_kinds(recipe: Recipe, data: Dataset) -> tuple[str, ...]:
    """The event kinds that are a success: as the recipe says, or all but impressions."""
    if recipe.data.positive:
        data.catalogue.kind_codes(recipe.data.positive, "data.positive")
        return tuple(recipe.data.positive)
    return _all_but_impressions(recipe, data)


def _all_but_impressions(recipe: Recipe, data: Dataset) -> tuple[str, ...]:
    return tuple(str(name) for name in data.catalogue.kinds.series() if name != recipe.data.impression)


def history_kinds(recipe: Recipe, data: Dataset) -> tuple[str, ...]:
    """The event kinds that enter the users' histories: as the recipe says, or all but impressions."""
    if recipe.state.events:
        data.catalogue.kind_codes(recipe.state.events, "state.events")
    return tuple(recipe.state.events) or _all_but_impressions(recipe, data)


def context_of(recipe: Recipe, data: Dataset, now: int, progress: Callable[..., Iterable[Any]] = silent) -> FitContext:
    """What parts may know while they are fitted as of `now`."""
    return FitContext(
        data.catalogue,
        positive_kinds(recipe, data),
        now,
        recipe.seed,
        progress=progress,
        context=tuple(recipe.data.context),
        impression=recipe.data.impression,
    )


def new_state(recipe: Recipe, data: Dataset, pipeline: Pipeline, ctx: FitContext) -> State:
    """An empty state that keeps what the pipeline's parts read."""
    events = history_kinds(recipe, data)
    memory = recipe.state
    folds = pipeline.folds(ctx)
    state = State(
        data.catalogue, folds, history=memory.history, history_events=events, keys=memory.keys, bounds=pipeline.bounds()
    )
    afford(state, len(data.log), int(memory.memory * 1e9))
    return state


def fit(
    recipe: Recipe,
    data: Dataset,
    progress: Callable[..., Iterable[Any]] = silent,
    splits: list[Split] | None = None,
) -> Fitted:
    """Fit a recipe on a data set. splits: label splits, oldest first, and the split to stand at (a test window's start); by
    default the label windows are the newest ones and the pipeline ends fitted on everything."""
    _known_context(recipe, data)
    splits = splits or to_the_end(recipe, data)
    labels, final = splits[:-1], splits[-1]
    recipe, chosen = settle(recipe, data, splits[0], context_of(recipe, data, splits[0].cut))
    pipeline = Pipeline.of(recipe)
    ctx = context_of(recipe, data, final.cut, progress)
    fitted = Fitted(pipeline, _replay(recipe, data, pipeline, ctx, final), ctx, recipe, data)
    fitted.notes += [f"{one.asked} chose {one.entry['name']} ({one.entry['type']}): {one.why}" for one in chosen]
    if pipeline.rankers:
        _train(fitted, labels)
    elif pipeline.merger is not None:
        _teach(fitted, labels)
    if recipe.timeline.refit == "each" or not pipeline.rankers:
        pipeline.fit(recipe.timeline.training(data, final), ctx)
    fitted.replay = advanced(fitted, final)
    return fitted


def to_the_end(recipe: Recipe, data: Dataset) -> list[Split]:
    """Label windows that end with the data, so that a bundle learns from all there is."""
    end = int(data.log.time[-1]) + 1
    if recipe.timeline.split == "last":
        return [*recipe.timeline.splits(data)[-1][1:], Split(end, len(data.log), len(data.log), "end")]
    return recipe.timeline.at(data, end)


def _known_context(recipe: Recipe, data: Dataset) -> None:
    for name in recipe.data.context:
        if name not in data.log.columns:
            raise ConfigError(f"data.context: no event column {name!r}; columns: {choices(data.log.columns)}")


def _replay(recipe: Recipe, data: Dataset, pipeline: Pipeline, ctx: FitContext, split: Split) -> Replay:
    return Replay(
        recipe.timeline.known(data, split) if split.dropped is not None else data.log,
        new_state(recipe, data, pipeline, ctx),
    )


def advanced(fitted: Fitted, split: Split) -> Replay:
    """The replay standing at a split: the same state moved on. A new one where this split or the one before it holds events
    back, or where the state is past the split already (requests of their own time in windows that overlap)."""
    replay = fitted.replay
    if split.dropped is not None or replay.log is not fitted.data.log or replay.position > split.start:
        replay = _replay(fitted.recipe, fitted.data, fitted.pipeline, fitted.ctx, split)
    if split.dropped is None:
        replay.to(split.start)
    else:
        replay.to(len(replay.log))
        replay.position = split.start  # as the whole log counts, like the requests of the split
    replay.since = split.cut
    return replay


def _teach(fitted: Fitted, labels: list[Split]) -> None:
    """The merge alone, where no ranker follows it: from every label split."""
    lessons = Lessons(fitted.pipeline, fitted.recipe.seed)
    for i, split in enumerate(labels):
        fitted.replay = advanced(fitted, split)
        if i == 0 or fitted.recipe.timeline.refit == "each":
            ctx = context_of(fitted.recipe, fitted.data, split.cut, fitted.ctx.progress)
            fitted.pipeline.fit(fitted.recipe.timeline.training(fitted.data, split), ctx)
        _note(fitted, label_requests(fitted, split, i), split, lessons)
    _taught(fitted, lessons)


def _note(fitted: Fitted, requests: Requests, split: Split, lessons: Lessons) -> None:
    """What the sources find for requests, as a lesson for the merge."""
    recipe, replay = fitted.recipe, fitted.replay
    for first, last, batch in batches(
        replay, requests, fitted.data, recipe.data.context, recipe.pipeline.chunk, fitted.ctx.progress,
        f"merge {split.name} ({iso(split.cut)})", recipe.state.freeze, recipe.state.refresh,
    ):  # fmt: skip
        trace = Trace()
        fitted.pipeline.retrieve(batch, replay.state, trace)
        _lesson(trace, requests, first, last, split, lessons)


def _lesson(trace: Trace, requests: Requests, first: int, last: int, split: Split, lessons: Lessons) -> None:
    assert trace.union is not None
    label = labelled(trace.union, requests, first, last) > 0
    lessons.note(trace, label, REQUESTS / len(requests), split.stop)


def _taught(fitted: Fitted, lessons: Lessons) -> None:
    """The merge as it will serve: from all label windows. A sentence where there was too little to learn from."""
    lessons.teach()
    if not fitted.pipeline.merges:
        fitted.notes.append(
            f"The label windows hold fewer than {LEAST} targets that the sources found: the merge learned nothing and takes turns by rank."
        )


def _train(fitted: Fitted, labels: list[Split]) -> None:
    """Frames at every label split, the ranker, the guard, and the ranker again on all of them."""
    recipe, data, pipeline = fitted.recipe, fitted.data, fitted.pipeline
    lessons = Lessons(pipeline, recipe.seed) if pipeline.merger is not None else None
    frames: list[Frame] = []
    late: list[Frame] = []  # of the validation window's time: they may train only after it has judged
    valid: Frame | None = None
    ended = _ended(labels)
    for i, split in enumerate(labels):
        fitted.replay = advanced(fitted, split)
        ctx = context_of(recipe, data, split.cut, fitted.ctx.progress)
        if i == 0 or recipe.timeline.refit == "each":
            pipeline.fit(recipe.timeline.training(data, split), ctx)
        newest = i == len(labels) - 1
        requests = label_requests(fitted, split, i)
        if newest:
            held, requests = _halved(requests, recipe.train.validate, recipe.seed, len(labels) == 1)
        if lessons is not None and i == 0:
            _note(fitted, requests, split, lessons)
            lessons.teach()
            fitted.replay = advanced(fitted, split)
        elif lessons is not None:
            lessons.teach(split.start, always=newest)
        noted = lessons if i else None
        if newest:
            asked = merged_requests(held, requests)
            full = np.zeros(len(asked), dtype=bool)
            full[: len(held)] = True
            order = np.argsort(asked.position, kind="stable")
            made = _frames(fitted, asked.take(order), i, full[order], split, noted)
            valid, more = (_dated(each, ended[i]) for each in made)
            if more is not None:  # of the validation window's own time: they wait, too, unless there is nothing older
                (late if frames else frames).append(more)
        else:
            _, frame = _frames(fitted, requests, i, np.zeros(len(requests), dtype=bool), split, noted)
            frame = _dated(frame, ended[i])
            if frame is not None:
                (frames if split.stop <= labels[-1].start or len(labels) == 1 else late).append(frame)
    if late and not frames:
        raise ConfigError(
            "timeline.cutoffs: every label window reaches into the validation window or the gap before it, so none may train "
            "the ranker that is judged there: choose more cut-offs, or a longer step"
        )
    if not frames or valid is None:
        raise ConfigError(
            "timeline: no label window holds a positive event that the sources found: choose longer windows, or more candidates"
        )
    _learn(fitted, frames, late, valid)
    if lessons is not None:
        _taught(fitted, lessons)


def _ended(labels: list[Split]) -> list[int]:
    """For every label split the newest one whose window has ended when it begins; -1 = none."""
    return [
        max((j for j, older in enumerate(labels[:i]) if older.stop <= split.start), default=-1)
        for i, split in enumerate(labels)
    ]


def _dated(frame: Frame | None, ended: int) -> Frame | None:
    return None if frame is None else replace(frame, ended=np.full(frame.batch.n, ended, dtype=np.int32))


def label_requests(fitted: Fitted, split: Split, i: int) -> Requests:
    """The requests of label window i, or a ConfigError when it has none."""
    recipe, data = fitted.recipe, fitted.data
    kinds = data.catalogue.kind_codes(positive_kinds(recipe, data))
    grades = {
        int(data.catalogue.kind_codes([name], "train.grades")[0]): value for name, value in recipe.train.grades.items()
    }
    draw: dict[str, Any] = {"most": recipe.train.requests, "seed": recipe.seed + 1 + i, "training": True}
    if given.is_given(recipe):
        requests = given.requests(recipe, data, split, kinds, **draw)
    else:
        requests = recipe.timeline.requests(data, split, kinds, grades=grades, **draw)
    if recipe.train.warm:
        past = fitted.state.history(requests.user, 1)  # as of the cut-off, which is before every request
        requests = requests.take(np.flatnonzero(np.diff(past.offsets)))
    if not len(requests):
        kinds_needed = (recipe.data.impression,) if given.is_given(recipe) else positive_kinds(recipe, data)
        raise ConfigError(
            f"timeline: the label window {split.name!r} from {iso(split.cut)} holds no event of kind "
            f"{choices(kinds_needed)}: choose another window"
        )
    return requests


def _halved(requests: Requests, most: int, seed: int, share: bool) -> tuple[Requests, Requests]:
    """Requests that validate, and the rest. With a single label window half of it must still train. Users with several requests
    are not torn apart: they are judged within."""
    count = min(most, len(requests) // 2) if share else min(most, len(requests))
    users, owner = np.unique(requests.user, return_inverse=True)
    if len(users) < len(requests):
        turn = np.empty(len(users), dtype=np.int64)
        turn[rng(seed, "validate").permutation(len(users))] = np.arange(len(users))
        order = np.argsort(turn[owner], kind="stable")
        ends = np.cumsum(np.bincount(turn[owner]))
        count = int(ends[max(int(np.searchsorted(ends, count, side="right")) - 1, 0)])
    else:
        order = rng(seed, "validate").permutation(len(requests))
    return requests.take(np.sort(order[:count])), requests.take(np.sort(order[count:]))


def merged_requests(first: Requests, second: Requests) -> Requests:
    """Two sets of requests, one after the other."""
    names = ("user", "time", "position", "items", "grades", "event")
    joined = {name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in names}
    return Requests(
        offsets=_chained(first.offsets, second.offsets), shown=_both_shown(first.shown, second.shown), **joined
    )


def _chained(first: Array, second: Array) -> Array:
    """The offsets of runs, one after the other."""
    return np.concatenate([first, first[-1] + second[1:]])


def _both_shown(first: Shown | None, second: Shown | None) -> Shown | None:
    if first is None or second is None:
        return None
    position = None
    if first.position is not None and second.position is not None:
        position = np.concatenate([first.position, second.position])
    return Shown(_chained(first.offsets, second.offsets), np.concatenate([first.items, second.items]), position)


def _frames(
    fitted: Fitted, requests: Requests, cutoff: int, full: Array, split: Split, lessons: Lessons | None
) -> tuple[Frame | None, Frame | None]:
    """Frames of the requests where `full` (whole pools, for validation) and of the others (positives and sampled rows). lessons: where
    to note what the merge may learn from them."""
    recipe, pipeline, replay = fitted.recipe, fitted.pipeline, fitted.replay
    title = f"frame {split.name} ({iso(split.cut)})"
    if given.is_given(recipe):
        return _given_frames(fitted, requests, cutoff, full, title)
    whole: list[Batch] = []
    sampled: list[Batch] = []
    for first, last, batch in batches(
        replay, requests, fitted.data, recipe.data.context, recipe.pipeline.chunk, fitted.ctx.progress, title,
        recipe.state.freeze, recipe.state.refresh,
    ):  # fmt: skip
        trace = None if lessons is None else Trace()
        pool = pipeline.retrieve(batch, replay.state, trace)
        if lessons is not None and trace is not None:
            _lesson(trace, requests, first, last, split, lessons)
        targets = np.diff(requests.offsets[first : last + 1])
        pool = Batch({**pool.req, "targets": targets}, pool.offsets, pool.cand)
        pool = pool.with_columns({"label": labelled(pool, requests, first, last)})
        for chosen, out in ((full[first:last], whole), (~full[first:last], sampled)):
            if not chosen.any():
                continue
            part = pool if chosen.all() else pool.only(np.flatnonzero(chosen))
            if out is sampled:
                part = sample(part, recipe.train.negatives, recipe.train.hard, recipe.seed)
            if part.m or out is whole:  # who gets nothing counts as well, whatever else is in the chunk
                label = part.cand["label"]
                made = pipeline.add_features(part.without(["label"]), replay.state)
                out.append(made.with_columns({"label": label}))
    by_user = recipe.train.group == "user"
    return _frame(whole, cutoff, pipeline, by_user), _frame(sampled, cutoff, pipeline, by_user)


def _given_frames(
    fitted: Fitted, requests: Requests, cutoff: int, full: Array, title: str
) -> tuple[Frame | None, Frame | None]:
    """The same of given impressions: all rows for validation, and `train.negatives` per request of the others, which stay without
    a positive, too: a pointwise model learns how often nothing is taken."""
    recipe, pipeline = fitted.recipe, fitted.pipeline
    made = concat(
        [
            batch.with_columns({"label": labelled(batch, requests, first, last)})
            for first, last, batch in given.featured(
                pipeline, fitted.replay, requests, fitted.data, recipe, fitted.ctx.progress, title
            )
        ]
    )
    frames = []
    for chosen, thin in ((full, False), (~full, True)):
        part = made.only(np.flatnonzero(chosen))
        part = sample(part, recipe.train.negatives, 0.0, recipe.seed, every=True) if thin else part
        frames.append(_frame([part], cutoff, pipeline, recipe.train.group == "user"))
    return frames[0], frames[1]


def labelled(pool: Batch, requests: Requests, first: int, last: int) -> Array:
    """(m,) float32 grade of every candidate row: 0 where it is not a target of its request."""
    start, stop = requests.offsets[first], requests.offsets[last]
    offsets = requests.offsets[first : last + 1] - start
    row = rows.locate(Batch(pool.req, offsets, {"item": requests.items[start:stop]}), pool)
    label = np.zeros(pool.m, dtype=np.float32)
    label[row[row >= 0]] = requests.grades[start:stop][row >= 0]
    return label


def sample(pool: Batch, negatives: int, hard: float, seed: int, every: bool = False) -> Batch:
    """Requests with a positive (all of them where `every`), all their positives, and `negatives` other rows each: a share of them
    those that the sources ranked best, the rest at random. A request's draw depends on its user and time alone."""
    label = pool.cand["label"]
    positive = np.add.reduceat(np.append(label > 0, False), pool.offsets[:-1]) * (np.diff(pool.offsets) > 0) > 0
    pool = pool.only(np.flatnonzero(positive)) if not every and not positive.all() else pool
    if negatives <= 0 or not pool.m:
        return pool
    label = pool.cand["label"]
    if every and np.bincount(pool.owner[label <= 0], minlength=pool.n).max() <= negatives:
        return pool
    draw = np.concatenate(
        [
            rng(seed, "negatives", int(u), int(t)).random(c)
            for u, t, c in zip(pool.user, pool.time, np.diff(pool.offsets), strict=True)
        ]
    )
    hardest = round(hard * negatives)
    best = rows.place(pool, -pool.cand["best_rank"]) < hardest if hardest else np.zeros(pool.m, dtype=bool)
    score = np.where(label > 0, 3.0, np.where(best, 2.0, draw))
    positives = np.bincount(pool.owner[label > 0], minlength=pool.n)
    return pool.keep(rows.place(pool, score) < pool.spread(positives) + negatives)


def _frame(parts: list[Batch], cutoff: int, pipeline: Pipeline, by_user: bool) -> Frame | None:
    """A frame of the requests of one window. by_user: a user's requests together, and numbered as one group (`group` of the
    requests' columns), which is what rankers compare within."""
    if not parts:
        return None
    batch = concat(parts)
    if not batch.m:
        return None
    if by_user:
        batch = batch.only(np.argsort(batch.user, kind="stable"))
        group = (np.int64(cutoff) << 32) | batch.user.astype(np.int64)
        batch = Batch({**batch.req, "group": group}, batch.offsets, batch.cand)
    label = batch.cand["label"]
    return Frame(
        batch.without(["label"]),
        label,
        np.ones(batch.m, dtype=np.float32),
        np.full(batch.n, cutoff, dtype=np.int32),
        pipeline.columns,
    )


def joined(frames: list[Frame]) -> Frame:
    """Frames one after another."""
    if len(frames) == 1:
        return frames[0]
    return Frame(
        concat([frame.batch for frame in frames]),
        np.concatenate([frame.label for frame in frames]),
        np.concatenate([frame.weight for frame in frames]),
        np.concatenate([frame.cutoff for frame in frames]),
        frames[0].features,
        None if any(frame.ended is None for frame in frames) else np.concatenate([frame.ended for frame in frames]),
    )


def _learn(fitted: Fitted, frames: list[Frame], late: list[Frame], valid: Frame) -> None:
    """The ranker on the older frames, judged on the newest; then on all, unless the recipe says otherwise."""
    recipe, pipeline, ctx = fitted.recipe, fitted.pipeline, fitted.ctx
    frames, late, valid = _steady(fitted, frames, late, valid)
    older = joined(frames)
    steps = list(pipeline.rankers.items())
    for name, ranker in ctx.progress(steps, "train", len(steps)):
        ranker.fit(older, valid, replace(ctx, place=f"ranker.{name}"))
        if getattr(ranker, "curve", None):
            fitted.curves[name] = dict(ranker.curve)
    if given.is_given(recipe):
        kinds = fitted.data.catalogue.kind_codes(positive_kinds(recipe, fitted.data))
        rate = given.item_rates(recipe, fitted.data, kinds, valid.batch)
        score = pipeline.score(valid.batch)
        fitted.guard = judge_given(score, rate, valid, recipe, list(pipeline.sources), fitted.notes)
        fitted.scale = platt(score, valid.label)
    else:
        fitted.guard = judge(pipeline, valid, recipe, fitted.notes)
    if recipe.train.refit:
        older = joined([*frames, *late, _sampled(valid, recipe)])
        for name, ranker in ctx.progress(steps, "train on every window", len(steps)):
            ranker.fit(older, None, replace(ctx, place=f"ranker.{name}"))
    fitted.frame = older
    last = list(pipeline.rankers.values())[-1]
    if hasattr(last, "importance"):
        fitted.importance = [{"feature": name, "gain": round(gain, 4)} for name, gain in last.importance().items()]
    if fitted.guard is not None and fitted.guard.verdict != "ranker" and recipe.pipeline.guard == "fallback":
        pipeline.fallback = fitted.guard.verdict.removeprefix("source:")


def _steady(
    fitted: Fitted, frames: list[Frame], late: list[Frame], valid: Frame
) -> tuple[list[Frame], list[Frame], Frame]:
    """The frames without the columns that drift from window to window, where the recipe asks for it."""
    most = fitted.recipe.train.drift
    if most <= 0:
        return frames, late, valid
    windows = {int(frame.cutoff[0]): frame for frame in (*frames, *late, _sampled(valid, fitted.recipe))}
    there = sorted(windows)
    ended = [-1 if (one := windows[i].ended) is None else int(one[0]) for i in there]
    left = drifting([windows[i] for i in there], [there.index(j) if j in windows else -1 for j in ended], most)
    kept = tuple(name for name in valid.features if name not in left)
    if not left or not kept:
        return frames, late, valid
    listed = ", ".join(
        f"{name} ({value:.2f})" for name, value in sorted(left.items(), key=lambda one: (-one[1], one[0]))
    )
    fitted.notes.append(
        f"Drift from one label window to the next is above {most:g}; the ranker does without: {listed}."
    )
    fitted.pipeline.columns = kept

    def thin(some: list[Frame]) -> list[Frame]:
        return [replace(frame, features=kept) for frame in some]

    return thin(frames), thin(late), replace(valid, features=kept)


def _sampled(valid: Frame, recipe: Recipe) -> Frame:
    """The validation frame thinned to what a training frame holds."""
    batch = sample(
        valid.batch.with_columns({"label": valid.label}), recipe.train.negatives, recipe.train.hard, recipe.seed,
        given.is_given(recipe),
    )  # fmt: skip
    return Frame(
        batch.without(["label"]), batch.cand["label"], np.ones(batch.m, dtype=np.float32),
        np.full(batch.n, valid.cutoff[0], dtype=np.int32), valid.features,
        None if valid.ended is None else np.full(batch.n, valid.ended[0], dtype=np.int32),
    )  # fmt: skip
