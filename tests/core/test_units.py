from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.core.errors import ConfigError
from shortlist.core.units import SECONDS, duration, iso, moment, seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [("30s", 30.0), ("2h", 7200.0), ("1.5m", 90.0), (" 7 d ", 604800.0), ("1w", 604800.0), ("0s", 0.0)],
)
def test_seconds(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["30", "", "h", "-2h", "2 hours", "2H", "1e3s", "2h30m", ".5h", 30, None, True])
def test_a_duration_needs_a_number_and_a_unit(text: object) -> None:
    with pytest.raises(ConfigError, match=r"not a duration: .*; write a number and a unit \(s, m, h, d, w\)"):
        seconds(text)  # recipes hold anything


@given(st.one_of(st.integers(0, 10**9), st.integers(0, 10**6).map(lambda halves: halves / 2)))
def test_duration_is_exact_and_reads_back(value: float) -> None:
    assert seconds(duration(value)) == value


@given(st.integers(1, 500), st.sampled_from(sorted(SECONDS)))
def test_duration_uses_a_unit_that_divides(number: int, unit: str) -> None:
    text = duration(number * SECONDS[unit])
    assert seconds(text) == number * SECONDS[unit]
    assert SECONDS[text[-1]] >= SECONDS[unit]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1508112000, 1508112000),
        ("2017-10-16", 1508112000),
        ("2017-10-16T12:00:00", 1508155200),
        ("2017-10-16T12:00:00+02:00", 1508148000),
        ("2017-10-16T12:00:00Z", 1508155200),
        (date(2017, 10, 16), 1508112000),
        (datetime(2017, 10, 16, tzinfo=UTC), 1508112000),
        (datetime(2017, 10, 16, 2, tzinfo=timezone(timedelta(hours=2))), 1508112000),
    ],
)
def test_moment(value: object, expected: int) -> None:
    assert moment(value) == expected


@pytest.mark.parametrize("value", ["yesterday", "", None, True, 1.5, "2017-13-01", [2017]])
def test_what_is_not_a_moment_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match=r"not a time: .*; write an ISO date such as '2017-10-16' or unix seconds"):
        moment(value)


@given(st.integers(0, 4 * 10**9))
def test_iso_reads_back(time: int) -> None:
    assert moment(iso(time)) == time
