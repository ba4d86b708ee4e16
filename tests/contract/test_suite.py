"""The suites find what is wrong: planted errors are caught, and ways out must be named and explained."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from shortlist.core.batch import Batch
from shortlist.core.component import param
from shortlist.core.contracts import FitContext, Hits, Mask, Source, State
from shortlist.data.log import Log
from shortlist.index.top import top
from shortlist.testing.conformance import PersonalSourceSuite, SourceSuite


@dataclass
class Planted(Source):
    """Item codes as scores, with an error of one's choice."""

    error: str = param("", "which error")

    def fit(self, log: Log, ctx: FitContext) -> None:
        if self.error == "changes the log":
            log.item[:] = 0
        self.fitted_items = int(log.item.max(initial=-1)) + 1
        items, counts = np.unique(log.item, return_counts=True)
        times = np.unique(log.time)
        self.alone = len(items) == 1 or len(np.unique(log.user)) == 1
        self.once = len(log) == 1
        self.doubled = len(log) > 2 * len(times)
        self.alike = len(items) > 1 and counts.min() == counts.max() and not self.alone

    def retrieve(self, batch: Batch, state: State, k: int, allowed: Mask | None) -> Hits:
        size = len(state.catalogue.items)
        full = np.tile(np.arange(size, 0, -1, dtype=np.float32), (batch.n, 1))
        if self.error == "looks at the batch":
            full[:, 3] = batch.n
        if self.error == "looks at the neighbour":
            full += np.roll(batch.user, 1)[:, None] * (np.arange(size) == 5)
        if self.error == "changes the batch":
            batch.user[:] = 0
        ignores = self.error == "ignores the mask" or any(
            self.error == error and found
            for error, found in (
                ("ignores the mask of one", self.alone),
                ("ignores the mask once", self.once),
                ("ignores the mask of duplicates", self.doubled),
                ("ignores the mask of equals", self.alike),
            )
        )
        if self.error == "looks up what is unknown":
            fitted = np.ones(self.fitted_items, dtype=np.float32)
            full[:] += fitted[state.history(batch.user).items].sum() * 0
        items, scores = top(full, k, None if ignores else allowed)
        if self.error == "worst first":
            items, scores = items[:, ::-1].copy(), scores[:, ::-1].copy()
        if self.error == "repeats":
            items[:, 1] = items[:, 0]
        if self.error == "loses items":
            items, scores = top(full, k + 2, allowed)
            items, scores = items[:, 2:].copy(), scores[:, 2:].copy()
        return Hits(items.astype(np.int64) if self.error == "wrong type" else items, scores, full)


def suite(error: str) -> Any:
    class Suite(SourceSuite):
        def part(self) -> Any:
            return Planted(error)

    return Suite()


CAUGHT = {
    "changes the log": "test_inputs_are_not_changed",
    "changes the batch": "test_inputs_are_not_changed",
    "looks at the batch": "test_batch_equals_single",
    "looks at the neighbour": "test_order_of_requests_does_not_matter",
    "ignores the mask": "test_everything_disallowed",
    "worst first": "test_answers_are_well_formed",
    "repeats": "test_answers_are_well_formed",
    "wrong type": "test_answers_are_well_formed",
    "loses items": "test_a_mask_only_strikes_out",
    "ignores the mask of one": "test_one_user",
    "ignores the mask once": "test_one_event",
    "ignores the mask of duplicates": "test_duplicate_events",
    "ignores the mask of equals": "test_everybody_met_everything",
    "looks up what is unknown": "test_a_history_of_unknown_items_only",
}


@pytest.mark.parametrize("error", CAUGHT)
def test_a_planted_error_is_caught(error: str) -> None:
    getattr(suite(""), CAUGHT[error])()
    with pytest.raises((AssertionError, ValueError, IndexError)):
        getattr(suite(error), CAUGHT[error])()


def test_an_impersonal_source_is_found_out() -> None:
    class Suite(PersonalSourceSuite):
        def part(self) -> Any:
            return Planted()

    for check in (Suite().test_nothing_without_a_history, Suite().test_finds_what_was_withheld):
        with pytest.raises(AssertionError):
            check()


def test_a_way_out_needs_a_check_and_a_reason() -> None:
    with pytest.raises(TypeError, match="no check is called 'test_unknwn_users'"):
        type("Suite", (SourceSuite,), {"skip": {"test_unknwn_users": "there are no users here"}})
    with pytest.raises(TypeError, match="say why test_unknown_users"):
        type("Suite", (SourceSuite,), {"skip": {"test_unknown_users": "no"}})


def test_which_part_must_be_said() -> None:
    with pytest.raises(NotImplementedError, match="say which part"):
        SourceSuite().part()
