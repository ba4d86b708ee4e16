"""Settle: an open feature becomes plain ones; what they are can be written down, saved, and served."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.core.errors import ConfigError
from shortlist.data.dataset import Dataset, encode
from shortlist.data.synthetic import START
from shortlist.experiment.fit import context_of, fit
from shortlist.experiment.settle import Settled, settle, toml
from shortlist.pipeline.bundle import Bundle
from shortlist.pipeline.config import Recipe, parse
from shortlist.serve.engine import Engine
from tests.parity.worlds import DAY, corrupted, shop, without

NOW = START + 8 * DAY


def recipe(*features: dict[str, Any]) -> Recipe:
    return parse(
        {
            "data": {"positive": ["click"], "context": ["device"]},
            "timeline": {"test": 0.8, "window": "1d", "cutoffs": 2},
            "train": {"negatives": 10, "requests": 60},
            "pipeline": {"pool": 30},
            "source": [{"type": "popular", "half_life": "1d"}, {"type": "itemknn"}],
            "feature": list(features) or [{"type": "auto"}],
            "ranker": [{"type": "linear", "steps": 20}],
        }
    )


def settled(chosen: Recipe, data: Dataset) -> tuple[Recipe, list[Settled]]:
    """As of a fit at NOW."""
    first = chosen.timeline.at(data, NOW)[0]
    return settle(chosen, data, first, context_of(chosen, data, first.cut))


@pytest.fixture(scope="module")
def data() -> Dataset:
    return encode(shop())


def test_nothing_open_nothing_settled(data: Dataset) -> None:
    plain = recipe({"type": "clock"}, {"type": "counts"})
    again, chosen = settled(plain, data)
    assert again is plain
    assert chosen == []


def test_plain_features_stay_where_they_are(data: Dataset) -> None:
    """Those before the open one, what it chose, those after it."""
    opened = recipe({"type": "clock", "name": "first"}, {"type": "auto", "families": ["counts"]}, {"type": "pair"})
    made, chosen = settled(opened, data)
    names = list(made.features)
    assert (names[0], names[-1]) == ("first", "pair")
    assert names[1:-1] == [one.entry["name"] for one in chosen]
    assert made.features["first"] is opened.features["first"]
    assert {one.asked for one in chosen} == {"auto"}
    assert not any(hasattr(part, "choose") for part in made.features.values())
    assert list(opened.features) == ["first", "auto", "pair"], "the recipe itself was changed"


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ([{"type": "clock"}, {"type": "auto"}], "feature.auto: a second feature is called 'clock'"),
        ([{"type": "auto"}, {"type": "pair"}], "feature.pair: a second feature is called 'pair'"),
        ([{"type": "auto"}, {"type": "auto", "name": "more"}], "feature.more: a second feature is called 'attributes'"),
        ([{"type": "auto", "name": "a", "exclude": ["item.size"]}], "feature.a.exclude: no column 'item.size'; choices: item."),
        ([{"type": "auto", "families": ["trees"]}], "feature.auto.families: 'trees' is not proposed for these data; choices: attr"),
    ],
)  # fmt: skip
def test_clashes_and_misses_are_one_line(data: Dataset, features: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settled(recipe(*features), data)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_what_is_written_by_hand_is_not_proposed_again(data: Dataset) -> None:
    """Two columns of one name are an error, and a recipe may have a family of its own beside auto. Other horizons stay."""
    whole, _ = settled(recipe({"type": "auto", "families": ["counts", "rate"]}), data)
    entry = whole.features["counts"]
    assert entry.by == ["item"]
    for life, kept in ((entry.half_life[0], False), ("123s", True)):
        same = {"type": "counts", "name": "mine", "by": ["item"], "half_life": [life]}
        beside, chosen = settled(recipe(same, {"type": "auto", "families": ["counts", "rate"]}), data)
        assert ("counts" in beside.features) == kept
        assert ("counts" in [one.entry["name"] for one in chosen]) == kept
    own: dict[str, Any] = {"type": "rate", "name": "mine", "by": ["device x item", "device"], "total": True}
    beside, _ = settled(recipe(own, {"type": "auto", "families": ["counts", "rate"]}), data)
    assert "device x item" in whole.features["rate_people"].by
    assert set(beside.features["rate_people"].by) == set(whole.features["rate_people"].by) - {"device x item", "device"}
    fit(recipe(own, {"type": "auto", "families": ["counts", "rate"]}), data)


def test_written_as_toml_it_reads_as_the_same_recipe(data: Dataset) -> None:
    made, chosen = settled(recipe(), data)
    text = toml(chosen)
    entries = tomllib.loads(text)["feature"]
    assert entries == [one.entry for one in chosen]
    assert recipe(*entries).resolved() == made.resolved()
    for one in chosen:
        assert f"# {one.why}\n[[feature]]\n" in text
    # What a run keeps (recipe.json) is the settled recipe, which reads as itself.
    assert parse(made.resolved()).resolved() == made.resolved()


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
plain = st.one_of(texts, st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False))
values = st.one_of(plain, st.lists(plain, max_size=4), st.dictionaries(texts, plain, max_size=4))


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), values, max_size=5))
def test_any_option_survives_toml(entry: dict[str, Any]) -> None:
    """Quotes, control characters, exponents and empty names too."""
    assert tomllib.loads(toml([Settled("auto", entry, "why")])) == {"feature": [entry]}


def test_the_future_has_no_say(data: Dataset) -> None:
    """What a fit as of NOW settles is the same whatever comes after its first cut-off."""
    expected = settled(recipe(), data)[1]
    first = recipe().timeline.at(data, NOW)[0].cut
    assert first < NOW - DAY
    for given_tables in (
        corrupted(shop(), first),
        corrupted(without(shop(), NOW), first),
        corrupted(shop(), NOW, seed=2),
    ):
        assert settled(recipe(), encode(given_tables))[1] == expected


def test_fitted_saved_and_loaded_it_serves_the_same(data: Dataset, tmp_path: Path) -> None:
    """All that auto proposes; also after more events."""
    opened = recipe()
    fitted = fit(opened, data, splits=opened.timeline.at(data, NOW))
    assert any(note.startswith("auto chose counts (counts): ") for note in fitted.notes)
    assert fitted.recipe.resolved() == settled(opened, data)[0].resolved()
    fitted.save(tmp_path / "bundle")
    loaded = Bundle.load(tmp_path / "bundle")
    assert loaded.recipe.resolved() == fitted.recipe.resolved()
    engines = [Engine.of(fitted.bundle()), Engine.load(tmp_path / "bundle")]
    users = [*data.catalogue.users.ids.series().to_list()[:20], "nobody"]
    event = {"user_id": users[0], "item_id": "i00003", "event": "click", "time": NOW + 60, "device": "phone"}
    for step in range(2):
        answers = [
            [
                engine.recommend({"user_id": user, "time": NOW + 100, "context": {"device": "phone"}})["items"]
                for user in users
            ]
            for engine in engines
        ]
        assert answers[0] == answers[1]
        assert len(answers[0][0]) > 5
        if step == 0:
            before = answers[0]
            for engine in engines:
                engine.track([event])
    assert answers[0][0] != before[0], "the event changed nothing"
    assert np.isfinite([entry["score"] for entry in answers[0][0]]).all()
