"""Nothing that happens after a cut-off can change anything before it: the future is deleted or turned into noise, and the training
frame and the answers must stay the same to the bit."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest

from shortlist.core.batch import Batch
from shortlist.core.contracts import Frame
from shortlist.data.dataset import encode
from shortlist.data.schema import Tables
from shortlist.data.synthetic import START
from shortlist.experiment.fit import Fitted, fit
from tests.parity.worlds import (
    DAY,
    corrupted,
    differs,
    recipe,
    same_arrays,
    same_batches,
    same_frames,
    shop,
    without,
)

T = START + 8 * DAY
FUTURES = {
    "deleted": without,
    "corrupted": corrupted,
    "corrupted otherwise": lambda tables, start: corrupted(tables, start, seed=2),
}
LABELS = ("window", "next")


def fitted(tables: Tables, labels: str, at: int = T) -> Fitted:
    """Everything fitted as of a moment."""
    chosen, data = recipe(timeline={"labels": labels}), encode(tables)
    return fit(chosen, data, splits=chosen.timeline.at(data, at))


@functools.cache
def whole(labels: str) -> Fitted:
    """Fitted as of T, with the future there."""
    return fitted(shop(), labels)


def frame(made: Fitted) -> Frame:
    """The ranker's training rows."""
    assert made.frame is not None
    return made.frame


def of_window(made: Fitted, window: int) -> Frame:
    """The requests of one label window, 0 = oldest."""
    every = frame(made)
    chosen = np.flatnonzero(every.cutoff == window)
    rows = np.flatnonzero(np.isin(every.batch.owner, chosen))
    part = every.batch.only(chosen)
    return Frame(part, every.label[rows], every.weight[rows], every.cutoff[chosen], every.features)


def asked(made: Fitted) -> Batch:
    """As of T: every user whom the past knows, each from three devices of which one is unknown, and one nobody knows."""
    table = made.data.catalogue.users
    past = made.data.log.before(T)
    codes = np.append(np.unique(np.concatenate([past.user, np.arange(table.listed)])), -1).repeat(3)
    device = np.tile(np.array([0, 1, -1], dtype=np.int32), len(codes) // 3)
    return Batch.of(codes, np.array(T), device=device, load=np.full(len(codes), 0.25, dtype=np.float32))


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("future", FUTURES)
def test_the_future_changes_neither_frame_nor_answers(labels: str, future: str) -> None:
    """Fitted as of T on the whole data, and on data whose events at or after T are gone or others."""
    expected = whole(labels)
    made = fitted(FUTURES[future](shop(), T), labels)
    assert made.data.fingerprint != expected.data.fingerprint, "nothing was corrupted"
    same_frames(frame(made), frame(expected))
    assert made.guard == expected.guard
    assert made.curves == expected.curves
    batch = asked(expected)
    answer = expected.pipeline.recommend(batch, expected.state, 10)
    assert answer.m > 5 * batch.n, "the answers say little"
    same_batches(made.pipeline.recommend(asked(made), made.state, 10), answer)
    # Codes of the past are the same too, so that equal codes are equal items.
    known = np.unique(answer.item)
    names = [each.data.catalogue.items.ids.names(known).to_list() for each in (made, expected)]
    assert names[0] == names[1]


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("window", [0, 1])
def test_a_label_window_knows_nothing_after_its_end(labels: str, window: int) -> None:
    """Noise from the end of one label window on leaves its part of the frame, and those of the older ones, as they were."""
    end = T - (2 - window) * DAY
    made = fitted(corrupted(shop(), end), labels)
    for older in range(window + 1):
        same_frames(of_window(made, older), of_window(whole(labels), older))
    assert differs(of_window(made, 2), of_window(whole(labels), 2))


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("hours", [1, 30, 60])
def test_the_past_changes_the_frame(labels: str, hours: int) -> None:
    """The twin: were the comparison blind, this would fail. Noise in one hour before the cut-off is seen."""
    made = fitted(corrupted(shop(), T - hours * 3600, T - (hours - 1) * 3600), labels)
    assert differs(frame(made), frame(whole(labels)))


@pytest.mark.parametrize("labels", LABELS)
def test_the_frame_says_something(labels: str) -> None:
    """Every window has positives, and every family of features gave columns that are not all the same."""
    every = frame(whole(labels))
    assert set(every.cutoff.tolist()) == {0, 1, 2}
    for window in range(3):
        part = of_window(whole(labels), window)
        assert (part.label > 0).any()
        assert (part.label == 0).any()
    constant = [name for name in every.features if len(np.unique(every.batch.cand[name])) < 2]
    # Asked for a whole window, a request has no context.
    allowed = (
        {"context.device", "context.load", "clock.hour", "device x item", "|device", "x device/"}
        if labels == "window"
        else set()
    )
    assert [name for name in constant if not any(word in name for word in allowed)] == []


def test_comparison_sees_one_bit() -> None:
    """Every part of a frame is compared: a change of the last bit anywhere is a difference."""
    every = frame(whole("next"))
    name = next(name for name in every.features if every.batch.cand[name].dtype == np.float32)
    column = every.batch.cand[name].copy()
    spot = int(np.flatnonzero(np.isfinite(column))[0])
    column[spot] = np.nextafter(column[spot], np.float32(np.inf))
    assert differs(replace(every, batch=every.batch.with_columns({name: column})), every)
    assert differs(replace(every, label=every.label + np.float32(1)), every)
    offsets = every.batch.offsets.copy()
    offsets[1] -= 1
    assert differs(replace(every, batch=Batch(every.batch.req, offsets, every.batch.cand)), every)
    with pytest.raises(AssertionError):
        same_arrays(np.zeros(3, np.float32), np.zeros(3, np.float64))
