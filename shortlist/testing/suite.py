"""What every conformance suite shares: a part to test, a small world to test it in, and a way out that is seen."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from shortlist.core.batch import Array, Batch, Columns
from shortlist.core.component import build, config, learned, load, parameters, save
from shortlist.core.contracts import FitContext
from shortlist.core.errors import ConfigError
from shortlist.state.state import State
from shortlist.testing.toy import Small, shop


class PartSuite:
    """Inherit a suite of your kind of part, and say which part:

        class TestMine(SourceSuite):
            part = lambda self: Mine(option=3)

    skip: checks that do not apply, by name, each with its reason; they are reported as skipped. tolerance: relative, for answers
    that are sums of products in floating point; 0 = bit for bit.
    """

    kind: ClassVar[str] = ""
    skip: ClassVar[dict[str, str]] = {}
    tolerance: ClassVar[float] = 0.0

    def part(self) -> Any:
        """A new part, not fitted."""
        raise NotImplementedError("say which part to test: part = lambda self: Mine()")

    def world(self) -> Small:
        """Where it is tested. The suites only read it."""
        return _shop()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name, reason in cls.skip.items():
            if not callable(getattr(cls, name, None)) or not name.startswith("test_"):
                raise TypeError(f"{cls.__name__}.skip: no check is called {name!r}")
            if len(reason.split()) < 3:
                raise TypeError(f"{cls.__name__}.skip: say why {name} does not apply")

    @pytest.fixture(autouse=True)
    def _way_out(self, request: pytest.FixtureRequest) -> None:
        name = getattr(request.node, "originalname", request.node.name)
        if name in self.skip:
            pytest.skip(f"{type(self).__name__}: {name}: {self.skip[name]}")

    # What the suites use.

    def ready(self) -> tuple[Any, State]:
        """A part that has been told its context, and fitted if it can be, and the state that it reads."""
        world, part = self.world(), self.part()
        folds = told(part, world.ctx)
        if hasattr(part, "fit"):
            self.fit(part, world)
        return part, world.state(folds)

    def fit(self, part: Any, world: Small) -> None:
        """Fit a part on all that the world knows."""
        part.fit(world.log, world.ctx)

    def loaded(self, part: Any, folder: Path) -> Any:
        """The part saved and loaded into a new one."""
        save(part, folder)
        other = build(self.kind, config(part))
        told(other, self.world().ctx)
        load(other, folder)
        return other

    def same(self, got: Array | None, expected: Array | None) -> None:
        """Equal arrays, NaN being equal to NaN: bit for bit, or within the suite's tolerance."""
        if got is None or expected is None:
            assert got is expected
            return
        assert got.shape == expected.shape
        assert got.dtype == expected.dtype
        if self.tolerance and got.dtype.kind == "f":
            np.testing.assert_allclose(got, expected, rtol=self.tolerance, atol=self.tolerance)
        else:
            np.testing.assert_array_equal(got, expected)

    # Checks for every kind.

    def test_options_round_trip(self) -> None:
        """A part is built again from its own entry."""
        part = self.part()
        again = build(self.kind, config(part))
        assert type(again) is type(part)
        assert config(again) == config(part)

    def test_options_are_documented(self) -> None:
        """Every option says what it is for."""
        for field in parameters(self.part()):
            assert field.metadata.get("doc"), f"{field.name} has no doc; make it by param()"

    def test_a_wrong_option_is_one_line(self) -> None:
        """An unknown option is refused by a message that names it and the choices."""
        with pytest.raises(ConfigError, match=r"unknown option 'no_such_option'.*options:") as caught:
            build(self.kind, {**config(self.part()), "no_such_option": 1})
        assert "\n" not in str(caught.value)

    def test_learned_arrays_are_plain(self) -> None:
        """What is learned can be saved without running code to load it."""
        part, _ = self.ready()
        for name in learned(part):
            array = getattr(part, name)
            assert array is None or (isinstance(array, np.ndarray) and not array.dtype.hasobject), name


@functools.cache
def _shop() -> Small:
    return shop()


def told(part: Any, ctx: FitContext) -> tuple[Any, ...]:
    """The part's aggregates; asking for them is also how a part learns its context."""
    return tuple(part.folds(ctx)) if hasattr(part, "folds") else ()


def frozen(columns: Columns) -> Columns:
    """A copy that may not be written to: a part that changes its input fails at once."""
    copies = {name: column.copy() for name, column in columns.items()}
    for column in copies.values():
        column.flags.writeable = False
    return copies


def frozen_batch(batch: Batch) -> Batch:
    """A batch that may not be written to."""
    offsets = batch.offsets.copy()
    offsets.flags.writeable = False
    return Batch(frozen(batch.req), offsets, frozen(batch.cand))


def shuffled(n: int) -> Array:
    """An order of n requests that is not theirs."""
    return np.roll(np.arange(n)[::-1], 1)


def snapshot(part: Any) -> dict[str, Any]:
    """Copies of all that a part has learned."""
    return {name: copy.deepcopy(getattr(part, name)) for name in learned(part)}
