"""What every feature must hold."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from shortlist.core.batch import Batch, Columns
from shortlist.testing.suite import PartSuite, frozen_batch, shuffled, snapshot, told


class FeatureSuite(PartSuite):
    """A row's value depends on its own request, its own item and the state; a feature only adds columns."""

    kind: ClassVar[str] = "feature"

    def batch(self) -> Batch:
        """The candidates that the checks are made on."""
        return self.world().candidates()

    def test_columns_are_well_formed(self) -> None:
        """Columns of length m, float32 or int32, that were not there before."""
        part, state = self.ready()
        batch = self.batch()
        columns = part.compute(batch, state)
        assert columns, "adds nothing: the other checks would say nothing"
        for name, column in columns.items():
            assert column.shape == (batch.m,), name
            assert column.dtype in (np.float32, np.int32), (
                f"{name} is {column.dtype}: float32 for numbers, int32 for categories"
            )
            assert name not in batch.cand, name
            assert not np.isinf(column).any(), f"{name} has infinities; missing is NaN"

    def test_some_rows_are_all_rows(self) -> None:
        """Computed on some of the rows, the same as those rows of the whole."""
        part, state = self.ready()
        batch = self.batch()
        rows = np.flatnonzero(np.arange(batch.m) % 3 != 0)
        whole = part.compute(batch, state)
        self.same_columns(part.compute(batch.take(rows), state), {name: column[rows] for name, column in whole.items()})

    def test_batch_equals_single(self) -> None:
        """A request gets the same alone and among others."""
        part, state = self.ready()
        batch = self.batch()
        whole = part.compute(batch, state)
        for i in range(batch.n):
            own = slice(batch.offsets[i], batch.offsets[i + 1])
            self.same_columns(
                part.compute(batch.request(i), state), {name: column[own] for name, column in whole.items()}
            )

    def test_order_of_requests_does_not_matter(self) -> None:
        """Requests in another order get the same values in that order."""
        part, state = self.ready()
        batch = self.batch()
        order = shuffled(batch.n)
        whole = part.compute(batch, state)
        expected = batch.with_columns({f"made/{name}": column for name, column in whole.items()}).only(order)
        got = part.compute(batch.only(order), state)
        self.same_columns(got, {name: expected.cand[f"made/{name}"] for name in whole})

    def test_requests_at_different_times(self) -> None:
        """The same, where every request has its own moment."""
        part, state = self.ready()
        batch = self.batch()
        batch = Batch({**batch.req, "time": batch.time + 3600 * np.arange(batch.n)}, batch.offsets, batch.cand)
        whole = part.compute(batch, state)
        for i in range(batch.n):
            own = slice(batch.offsets[i], batch.offsets[i + 1])
            self.same_columns(
                part.compute(batch.request(i), state), {name: column[own] for name, column in whole.items()}
            )

    def test_no_rows(self) -> None:
        """Requests without candidates get empty columns, under the same names and of the same types."""
        part, state = self.ready()
        batch = self.batch()
        names = {name: column.dtype for name, column in part.compute(batch, state).items()}
        none = part.compute(batch.take(np.zeros(0, dtype=np.int64)), state)
        assert {name: column.dtype for name, column in none.items()} == names
        assert all(len(column) == 0 for column in none.values())

    def test_nothing_folded_in(self) -> None:
        """Before the first event there are columns all the same."""
        part, full = self.ready()
        world = self.world()
        state = type(full)(world.catalogue, told(part, world.ctx))
        assert part.compute(self.batch(), state).keys() == part.compute(self.batch(), full).keys()

    def test_inputs_are_not_changed(self) -> None:
        """Neither the batch nor what was learned."""
        part, state = self.ready()
        before = snapshot(part)
        part.compute(frozen_batch(self.batch()), state)
        for name, array in snapshot(part).items():
            self.same(array, before[name])

    def test_saved_and_loaded_it_answers_alike(self, tmp_path: Path) -> None:
        """The artefact is the part."""
        part, state = self.ready()
        expected = part.compute(self.batch(), state)
        self.same_columns(self.loaded(part, tmp_path).compute(self.batch(), state), expected)

    def same_columns(self, got: Columns, expected: Columns) -> None:
        """Equal columns under equal names."""
        assert got.keys() == expected.keys()
        for name in expected:
            self.same(got[name], expected[name])
