import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.core.contracts import FitContext
from shortlist.core.errors import ConfigError
from shortlist.data.catalogue import number
from shortlist.data.log import Log
from shortlist.order.available import Available
from shortlist.state.state import State
from tests.order.checks import filter_keep
from tests.state.toys import events, moments, toy_batch, toy_catalogue, toy_events

DATES = st.lists(st.one_of(st.none(), st.integers(0, 9)), min_size=12, max_size=12)


@settings(max_examples=60)
@given(
    since=st.one_of(st.none(), DATES),
    until=st.one_of(st.none(), DATES),
    listed=st.integers(0, 12),
    named=st.sets(st.integers(0, 11), min_size=1),
    times=st.lists(st.integers(0, 9), min_size=1, max_size=4),
    missing=st.sampled_from(["keep", "drop"]),
)
def test_equals_its_definition(
    since: list[int | None] | None,
    until: list[int | None] | None,
    listed: int,
    named: set[int],
    times: list[int],
    missing: str,
) -> None:
    columns = {}
    if since is not None:
        columns["available_from"] = moments(since)
    if until is not None:
        columns["available_until"] = moments(until)
    state = State(toy_catalogue(12, listed=listed, **columns))
    state.apply(events([0] * len(named), sorted(named), [0] * len(named)))
    batch = toy_batch([12] * len(times), items=12, time=times)

    def available(item: int, time: int) -> bool:
        start = since[item] if since is not None else None
        end = until[item] if until is not None else None
        if start is None and missing == "drop":
            return False
        if start is None and item >= listed and item not in named:
            return False
        return (start is None or start <= time) and (end is None or time < end)

    part = Available(missing)
    expected = [available(item, batch.time[i]) for item, i in zip(batch.item.tolist(), batch.owner, strict=True)]
    assert filter_keep(part, batch, state).tolist() == expected
    mask = part.mask(batch, state)
    if mask is not None:
        assert mask.allows(batch).tolist() == expected
    else:
        assert not times or (not columns and listed == 12)


def test_mask_is_shared_by_requests_of_one_moment_only() -> None:
    state = State(toy_catalogue(40, available_from=moments([50] * 40)))
    mask = Available().mask(toy_batch([3, 3], time=40), state)
    assert mask is not None
    assert mask.shared is not None
    assert not mask.shared.any()
    apart = Available().mask(toy_batch([3, 3], time=[40, 60]), state)
    assert apart is not None
    assert apart.shared is not None
    assert apart.shared.all()
    assert apart.offsets is not None
    assert np.diff(apart.offsets).tolist() == [len(apart.shared), 0]
    assert Available().mask(toy_batch([]), state) is None


def test_codes_outside_the_catalogue_are_not_available() -> None:
    state = State(toy_catalogue(40))
    batch = toy_batch([2]).with_columns({"item": np.array([-1, 40], dtype=np.int32)})
    assert not filter_keep(Available(), batch, state).any()


def test_columns_are_checked_at_fit() -> None:
    log = Log(toy_events(3))
    wrong = toy_catalogue(3, available_from=number(pl.Series([1.0, 2.0, 3.0])))
    with pytest.raises(ConfigError, match=r"recipe: filter\[0\]: item column 'available_from' is a number column"):
        Available().fit(log, FitContext(wrong, positive=(), place="recipe: filter[0]"))
    with pytest.raises(ConfigError, match=r"'drop' would drop every item.*columns: category, tags, vector, price"):
        Available("drop").fit(log, FitContext(toy_catalogue(3), positive=()))
