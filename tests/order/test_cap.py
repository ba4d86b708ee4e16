import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.core.contracts import FitContext
from shortlist.core.errors import ConfigError
from shortlist.data.log import Log
from shortlist.order.cap import Cap
from shortlist.state.state import State
from tests.order.checks import rule_rows
from tests.state.toys import CATEGORIES, toy_batch, toy_catalogue, toy_events


def capped(items: list[int], most: int, within: int, drop: bool) -> list[int]:
    """The definition, with lists."""
    waiting = list(items)
    placed: list[int] = []
    passed: list[int] = []
    places = within or len(items)
    while waiting and len(placed) < places:
        item = waiting.pop(0)
        group = CATEGORIES[item % 6]
        same = [other for other in placed if CATEGORIES[other % 6] == group]
        (passed if group is not None and len(same) >= most else placed).append(item)
    return placed + ([] if drop else passed) + waiting


@settings(max_examples=60)
@given(
    counts=st.lists(st.integers(0, 20), max_size=4),
    most=st.integers(1, 4),
    within=st.integers(0, 12),
    drop=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_equals_its_definition(counts: list[int], most: int, within: int, drop: bool, seed: int) -> None:
    batch = toy_batch(counts, seed=seed)
    shown = rule_rows(Cap("category", most, within, drop), batch, State(toy_catalogue()))
    assert shown == [capped(batch.request(i).item.tolist(), most, within, drop) for i in range(batch.n)]


def test_column_must_be_a_category() -> None:
    context = FitContext(toy_catalogue(), positive=(), place="recipe: rule[1]")
    with pytest.raises(
        ConfigError, match=r"rule\[1\]: item column 'price' is a number column; category columns: category"
    ):
        Cap("price").fit(Log(toy_events(3)), context)
    with pytest.raises(ConfigError, match=r"unknown column 'colour'; columns: category, tags, vector, price"):
        Cap("colour").fit(Log(toy_events(3)), context)
