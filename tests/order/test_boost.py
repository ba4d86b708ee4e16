from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.core.component import build, config
from shortlist.core.contracts import FitContext
from shortlist.core.errors import ConfigError
from shortlist.data.log import Log
from shortlist.order.boost import Boost
from shortlist.state.state import State
from tests.order.checks import rule_rows
from tests.state.toys import CATEGORIES, toy_batch, toy_catalogue, toy_events

ABOUT = st.one_of(
    st.fixed_dictionaries({"items": st.lists(st.integers(0, 45), max_size=4)}),
    st.fixed_dictionaries({"by": st.just("category"), "value": st.sampled_from(["news", "arts", "unheard"])}),
    st.fixed_dictionaries({"by": st.just("tags"), "value": st.sampled_from(["t0", "t2", "unheard"])}),
)
DATES = st.fixed_dictionaries({}, optional={"since": st.integers(0, 4), "until": st.integers(0, 4)})
WISHES = st.lists(
    st.tuples(ABOUT, DATES, st.integers(-6, 6)).map(lambda made: {**made[0], **made[1], "places": made[2]}), max_size=3
)


def meant(wish: dict[str, Any], item: int, time: int) -> bool:
    """Does the wish hold for this item now?"""
    if not wish.get("since", 0) <= time < wish.get("until", 9):
        return False
    if "items" in wish:
        return item in wish["items"]
    return wish["value"] in ([CATEGORIES[item % 6]] if wish["by"] == "category" else [f"t{j}" for j in range(item % 4)])


@settings(max_examples=80)
@given(WISHES, st.lists(st.integers(0, 12), min_size=1, max_size=4), st.integers(0, 1000))
def test_equals_its_definition(wishes: list[dict[str, Any]], counts: list[int], seed: int) -> None:
    batch = toy_batch(counts, seed=seed, time=list(range(len(counts))))
    expected = []
    for i in range(batch.n):
        items = batch.request(i).item.tolist()
        lifts = [sum(wish["places"] for wish in wishes if meant(wish, item, i)) for item in items]
        # A lifted row arrives half a place before the one that stood there, a lowered one half a place behind.
        claims = [place - lift - 0.5 * ((lift > 0) - (lift < 0)) for place, lift in enumerate(lifts)]
        expected.append([items[place] for place in sorted(range(len(items)), key=lambda place: claims[place])])
    assert rule_rows(Boost(wishes), batch, State(toy_catalogue())) == expected


@pytest.mark.parametrize(
    ("places", "shown"), [(1, [0, 1, 3, 2, 4]), (2, [0, 3, 1, 2, 4]), (99, [3, 0, 1, 2, 4]), (-1, [0, 1, 2, 4, 3])]
)
def test_moves_past_exactly_so_many_rows(places: int, shown: list[int]) -> None:
    batch = toy_batch([5])
    order = batch.item.tolist()
    moved = rule_rows(Boost([{"places": places, "items": [order[3]]}]), batch, State(toy_catalogue()))
    assert moved == [[order[i] for i in shown]]


def test_dates_of_the_recipe_travel_as_text() -> None:
    wish = {"places": 2, "items": [1], "since": date(2017, 10, 16)}
    part = build("order", {"type": "boost", "wishes": [wish]})
    assert config(part)["wishes"] == [{"places": 2, "items": [1], "since": "2017-10-16"}]


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"places": 1, "itms": [1]}, r"unknown option 'itms'; options: places, items, by, value, since, until"),
        ({"items": [1]}, r"\.places: expected int, got None"),
        ({"places": 0.5, "items": [1]}, r"\.places: expected int, got 0\.5"),
        ({"places": 1}, r"say what is meant: either 'items', or 'by' and 'value'"),
        ({"places": 1, "by": "category"}, r"say what is meant"),
        ({"places": 1, "items": [1], "by": "category", "value": "news"}, r"say what is meant"),
        ({"places": 1, "items": 1}, r"\.items: expected a list of ids, got 1"),
        (
            {"places": 1, "by": "price", "value": "1"},
            r"'price' is a number column; category and tags columns: category, tags",
        ),
        ({"places": 1, "items": [1], "until": "soon"}, r"\.until: not a time: 'soon'"),
    ],
)
def test_wishes_are_checked_at_fit(wish: dict[str, Any], message: str) -> None:
    context = FitContext(toy_catalogue(), positive=(), place="rule.boost")
    with pytest.raises(ConfigError, match=rf"^rule\.boost: wishes\[1\].*{message}"):
        Boost([{"places": 1, "items": [1]}, wish]).fit(Log(toy_events(3)), context)
