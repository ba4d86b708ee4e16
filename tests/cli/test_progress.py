"""Progress: hands every step through, says how long stages took, keeps stdout clean."""

import io
import itertools
from collections.abc import Iterator

import pytest

from shortlist.cli.progress import Watch


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def clock(monkeypatch: pytest.MonkeyPatch, *times: float) -> None:
    """Let the clock of the module show these times, in turn."""
    shown = iter(times)
    monkeypatch.setattr("shortlist.cli.progress.time.perf_counter", lambda: next(shown))


def test_plain_lines_with_the_time_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    clock(monkeypatch, 0.0, 2.5)
    stream = io.StringIO()
    with Watch(stream) as watch:
        assert list(watch([1, 2, 3], "fit", 3)) == [1, 2, 3]
    assert stream.getvalue() == "fit: 2.5 s\n"


def test_a_stage_inside_a_stage_is_told_only_when_it_was_long(monkeypatch: pytest.MonkeyPatch) -> None:
    clock(monkeypatch, 0.0, 1.0, 1.1, 2.0, 4.0, 5.0)  # outer; short inner; long inner
    stream = io.StringIO()
    with Watch(stream) as watch:
        for title in watch(["short", "long"], "outer"):
            assert list(watch(range(2), title)) == [0, 1]
    assert stream.getvalue() == "  long: 2.0 s\nouter: 5.0 s\n"


def test_a_stage_that_fails_is_not_told_as_done() -> None:
    stream = io.StringIO()

    def steps() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    with Watch(stream) as watch:
        with pytest.raises(ValueError, match="broken"):
            list(watch(steps(), "fit"))
        assert list(watch([1], "next")) == [1]
    assert stream.getvalue().startswith("next: ")


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_it_is_lazy_and_may_be_left_early(stream: io.StringIO) -> None:
    with Watch(stream) as watch:
        assert list(itertools.islice(watch(itertools.count(), "endless"), 3)) == [0, 1, 2]
        assert list(watch([], "nothing")) == []


def test_a_long_stage_says_how_fast_and_how_long_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = iter([0.0, 10.0, 40.0, 50.0, 80.0])  # the start, and after each step
    monkeypatch.setattr("shortlist.cli.progress.time.monotonic", lambda: next(shown))
    stream = io.StringIO()
    with Watch(stream) as watch:
        assert list(watch(range(4), "fit", 4)) == [0, 1, 2, 3]
    lines = stream.getvalue().splitlines()
    assert lines[0] == "fit: 2 of 4, 20.0 s each, about 40 s left"
    assert len(lines) == 2  # the last step is told by the line of the whole stage
    shown = iter([0.0, 20.0, 40.0, 45.0])
    monkeypatch.setattr("shortlist.cli.progress.time.monotonic", lambda: next(shown))
    stream = io.StringIO()
    with Watch(stream) as watch:
        assert list(watch(iter("abc"), "read")) == ["a", "b", "c"]
    assert stream.getvalue().startswith("read: 2, 20.0 s each\n")


def test_bars_on_a_terminal() -> None:
    stream = Terminal()
    with Watch(stream) as watch:
        for _ in watch(range(3), "outer"):
            assert list(watch(iter("ab"), "inner", 2)) == ["a", "b"]
    assert "outer" in stream.getvalue()
    assert "left" in stream.getvalue()
    assert "a second" in stream.getvalue() or "s each" in stream.getvalue()
