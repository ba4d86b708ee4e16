"""Work on all cores: in order, and over when it fails."""

import threading
import time

import pytest

from shortlist.serve.parallel import in_order


def test_in_order() -> None:
    def slow_at_first(step: int) -> int:
        time.sleep(0.02 if step < 3 else 0.0)
        return step * step

    assert list(in_order(slow_at_first, range(40))) == [step * step for step in range(40)]
    assert list(in_order(slow_at_first, [])) == []


def test_the_first_step_is_done_alone() -> None:
    begun: list[int] = []

    def work(step: int) -> int:
        begun.append(step)
        return step

    steps = in_order(work, range(9))
    assert next(steps) == 0
    assert begun == [0]
    assert list(steps) == list(range(1, 9))


def test_an_error_ends_it() -> None:
    begun, lock = [], threading.Lock()

    def work(step: int) -> int:
        with lock:
            begun.append(step)
        time.sleep(0.001)
        if step == 5:
            raise ValueError("no")
        return step

    with pytest.raises(ValueError, match="no"):
        list(in_order(work, range(2000)))
    assert len(begun) < 1000
