"""What every filter and every rule must hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from shortlist.core import rows as row
from shortlist.core.batch import Array, Batch
from shortlist.core.contracts import Mask
from shortlist.core.rng import rng
from shortlist.testing.suite import PartSuite, frozen_batch, shuffled


class FilterSuite(PartSuite):
    """A row stays or goes by its own request, its own item and the state."""

    kind: ClassVar[str] = "order"

    def batch(self) -> Batch:
        """The candidates that the checks are made on."""
        return self.world().candidates(n=20, most=40)

    def test_keeps_some_and_drops_some(self) -> None:
        """(m,) bool, both values met: else the other checks would say nothing."""
        part, state = self.ready()
        batch = self.batch()
        keep = part.keep(batch, state)
        assert keep.shape == (batch.m,)
        assert keep.dtype == bool
        assert keep.any()
        assert not keep.all()

    def test_the_mask_bans_nothing_that_is_kept(self) -> None:
        """What is told to the sources beforehand is a part of `keep`."""
        part, state = self.ready()
        batch = self.batch()
        mask = part.mask(batch, state) if hasattr(part, "mask") else None
        allowed = (mask or Mask()).allows(batch)
        assert allowed[part.keep(batch, state)].all()

    def test_the_mask_is_the_same_alone_and_among_others(self) -> None:
        """Requests of different moments: each is told what it is told alone. Else a source would find other items for it."""
        part, state = self.ready()
        req = self.batch().req
        n, size = len(req["user"]), len(state.catalogue.items)
        req = {**req, "time": req["time"] - 12 * 3600 * np.arange(n)}
        batch = Batch(req, row.offsets_of(np.full(n, size)), {"item": np.tile(np.arange(size, dtype=np.int32), n)})

        def told(asked: Batch) -> Array:
            mask = part.mask(asked, state) if hasattr(part, "mask") else None
            return (mask or Mask()).allows(asked)

        whole = told(batch)
        for i in range(n):
            self.same(told(batch.request(i)), whole[i * size : (i + 1) * size])

    def test_some_rows_are_all_rows(self) -> None:
        """Asked about some of the rows, it says the same of them."""
        part, state = self.ready()
        batch = self.batch()
        rows = np.flatnonzero(np.arange(batch.m) % 3 != 0)
        self.same(part.keep(batch.take(rows), state), part.keep(batch, state)[rows])

    def test_batch_equals_single(self) -> None:
        """A request is treated the same alone and among others, in any order."""
        part, state = self.ready()
        batch = self.batch()
        keep = part.keep(batch, state)
        for i in range(batch.n):
            self.same(part.keep(batch.request(i), state), keep[batch.offsets[i] : batch.offsets[i + 1]])
        order = shuffled(batch.n)
        self.same(part.keep(batch.only(order), state), batch.with_columns({"made": keep}).only(order).cand["made"])

    def test_no_rows(self) -> None:
        """Nothing to keep is no error."""
        part, state = self.ready()
        assert part.keep(self.batch().take(np.zeros(0, dtype=np.int64)), state).shape == (0,)

    def test_inputs_are_not_changed(self) -> None:
        """The batch is only read."""
        part, state = self.ready()
        self.same(part.keep(frozen_batch(self.batch()), state), part.keep(self.batch(), state))

    def test_saved_and_loaded_it_answers_alike(self, tmp_path: Path) -> None:
        """The artefact is the part."""
        part, state = self.ready()
        self.same(self.loaded(part, tmp_path).keep(self.batch(), state), part.keep(self.batch(), state))


class RuleSuite(PartSuite):
    """The answer is rows of the batch, request by request; chance depends on the request alone."""

    kind: ClassVar[str] = "order"

    def batch(self) -> Batch:
        """Candidates in the order of a final score, as rules are given them."""
        batch = self.world().candidates(n=20, most=30)
        score = rng(0, "final").normal(size=batch.m).astype(np.float32)
        return batch.with_columns({"score": score}).take(row.order(batch, score))

    def rows(self, part: Any, batch: Batch, state: Any, numbers: Array | None = None) -> list[list[int]]:
        """The items shown to each request, after the checks that hold for every answer. numbers: what requests are called
        when their generators are made."""
        names = np.arange(batch.n) if numbers is None else numbers
        rows = part.rows(batch, state, generators(names))
        assert rows.ndim == 1
        assert rows.dtype.kind == "i"
        assert ((rows >= 0) & (rows < batch.m)).all(), "invents rows"
        assert len(np.unique(rows)) == len(rows), "repeats rows"
        assert (np.diff(batch.owner[rows]) >= 0).all(), "not grouped by request"
        after = batch.take(rows)
        return [after.request(i).item.tolist() for i in range(batch.n)]

    def test_rows_are_well_formed(self) -> None:
        """Distinct rows of the batch, grouped by request; something is shown."""
        part, state = self.ready()
        shown = self.rows(part, self.batch(), state)
        assert any(shown)

    def test_batch_equals_single(self) -> None:
        """A request is ordered the same alone and among others, in any order."""
        part, state = self.ready()
        batch = self.batch()
        shown = self.rows(part, batch, state)
        for i in range(batch.n):
            assert self.rows(part, batch.request(i), state, np.array([i])) == [shown[i]]
        order = shuffled(batch.n)
        assert self.rows(part, batch.only(order), state, order) == [shown[i] for i in order]

    def test_the_same_chance_gives_the_same(self) -> None:
        """Asked twice with the same generators, it answers twice the same."""
        part, state = self.ready()
        assert self.rows(part, self.batch(), state) == self.rows(part, self.batch(), state)

    def test_no_rows(self) -> None:
        """Nothing to order is no error."""
        part, state = self.ready()
        assert self.rows(part, self.batch().take(np.zeros(0, dtype=np.int64)), state) == [[]] * self.batch().n

    def test_inputs_are_not_changed(self) -> None:
        """The batch is only read."""
        part, state = self.ready()
        assert self.rows(part, frozen_batch(self.batch()), state) == self.rows(part, self.batch(), state)

    def test_saved_and_loaded_it_answers_alike(self, tmp_path: Path) -> None:
        """The artefact is the part."""
        part, state = self.ready()
        expected = self.rows(part, self.batch(), state)
        assert self.rows(self.loaded(part, tmp_path), self.batch(), state) == expected


def generators(numbers: Array) -> Callable[[int], np.random.Generator]:
    """rng(i): the generator of request i of the batch, which is called numbers[i]."""

    def one(request: int) -> np.random.Generator:
        return rng(0, "rule", int(numbers[request]))

    return one
