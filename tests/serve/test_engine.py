"""The engine: what it answers, what it learns, and what it refuses without learning half of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from shortlist.core.errors import ConfigError, DataError
from shortlist.data.dataset import encode, from_frames
from shortlist.data.synthetic import START
from shortlist.experiment.fit import fit
from shortlist.pipeline.config import parse
from shortlist.serve.engine import MOST, Engine
from tests.parity.worlds import DAY, recipe, shop, without

NOW = START + 8 * DAY
USERS = [f"u{i:05}" for i in range(40)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with every part, fitted on all that it knows."""
    made = tmp_path_factory.mktemp("engine") / "bundle"
    data = encode(without(shop(), NOW))
    chosen = recipe(timeline={"test": 0.9, "cutoffs": 2}, rule=[])
    fit(chosen, data, splits=chosen.timeline.at(data, NOW)).save(made)
    return made


@pytest.fixture
def engine(folder: Path) -> Engine:
    """A fresh one: it learns."""
    return Engine.load(folder)


def ids(answer: dict[str, Any]) -> list[Any]:
    """The items of an answer."""
    return [entry["item_id"] for entry in answer["items"]]


def click(user: str, item: str, **more: Any) -> dict[str, Any]:
    """An event."""
    return {"user_id": user, "item_id": item, "event": "click", "time": NOW, **more}


def standing(engine: Engine) -> tuple[Any, ...]:
    """All that a refused batch of events might have changed."""
    catalogue = engine.catalogue
    arrays = {
        f"{name}.{field}": np.array(value)
        for name, fold in engine.state.folds.items()
        for field, value in vars(fold).items()
        if isinstance(value, np.ndarray)
    }
    return (
        engine.state.now, engine.state.count, len(catalogue.users), len(catalogue.items), len(catalogue.kinds),
        {name: len(words) for name, words in catalogue.context.items()}, catalogue.items.ids.is_text,
        {name: array.tobytes() for name, array in arrays.items()},
        engine.state.history(np.arange(len(catalogue.users))).items.tobytes(),
    )  # fmt: skip


def test_an_answer_says_what_and_when(engine: Engine) -> None:
    answer = engine.recommend({"user_id": USERS[0]})
    assert set(answer) == {"user_id", "items", "time", "bundle", "took_ms"}
    assert answer["user_id"] == USERS[0]
    assert answer["time"] == engine.state.now
    assert len(answer["bundle"]) == 12
    assert len(ids(answer)) == len(set(ids(answer))) == 10
    assert set(answer["items"][0]) == {"item_id", "score"}
    scores = [entry["score"] for entry in answer["items"]]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("user", ["never heard of", None, "", 17, "ü" * 500])
def test_an_unknown_user_is_not_an_error(engine: Engine, user: Any) -> None:
    """And all unknown users get the same."""
    answer = engine.recommend({"user_id": user})
    assert ids(answer) == ids(engine.recommend({}))
    assert len(ids(answer)) == 10


def test_k(engine: Engine) -> None:
    """The first k of more; a catalogue that ends makes a short list, which is no error."""
    many = ids(engine.recommend({"user_id": USERS[0], "k": 30}))
    assert ids(engine.recommend({"user_id": USERS[0], "k": 3})) == many[:3]
    assert 10 < len(ids(engine.recommend({"user_id": USERS[0], "k": MOST}))) < 60


@pytest.mark.parametrize("k", [0, -1, MOST + 1, 1.5, "10", True, None])
def test_a_bad_k_is_one_line(engine: Engine, k: Any) -> None:
    with pytest.raises(ConfigError, match=rf"request: k must be a whole number from 1 to {MOST}, not"):
        engine.recommend({"user_id": USERS[0], "k": k})


def test_exclude(engine: Engine) -> None:
    """Excluded items are out, the list is as long as ever, and the others keep their order; unknown ids exclude nothing."""
    request = {"user_id": USERS[1], "k": 8}
    more = ids(engine.recommend({**request, "k": 12}))
    out = [more[0], more[3], more[4]]
    shorter = ids(engine.recommend({**request, "exclude": [*out, "no such item"]}))
    assert shorter == [item for item in more if item not in out][:8]
    assert ids(engine.recommend({**request, "exclude": []})) == more[:8]


def test_context(engine: Engine) -> None:
    """It is used; a value that nobody knows is as good as none."""
    request = {"user_id": USERS[0], "k": 20}
    plain = engine.recommend(request)["items"]
    assert engine.recommend({**request, "context": {"device": "toaster", "load": None}})["items"] == plain
    phone, tablet = (
        [engine.recommend({"user_id": user, "k": 20, "context": {"device": name}})["items"] for user in USERS]
        for name in ("phone", "tablet")
    )
    assert phone != tablet
    for wrong in ({"divice": "phone"}, {"event": "click"}):
        with pytest.raises(ConfigError, match=r"request: unknown context '.*'; choices: device, load"):
            engine.recommend({**request, "context": wrong})
    for load in ("heavy", True, [1]):
        with pytest.raises(ConfigError, match="request: context 'load' must be a number"):
            engine.recommend({**request, "context": {"load": load}})


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"user": "u1"}, r"unknown field 'user'; fields: .*user_id"),
        ({"user_id": "u1", "kk": 3, "a": 1}, "unknown field 'a'"),
        ({"user_id": "u1", "time": "yesterday"}, "not a time: 'yesterday'"),
        ({"user_id": "u1", "time": True}, "not a time: True"),
        ({"user_id": "u1", "context": "phone"}, "context must be a table"),
        ({"user_id": "u1", "exclude": "i00001"}, "exclude must be a list"),
        ({"user_id": ["u1"]}, "user_id must be an id"),
    ],
)
def test_a_bad_request_is_one_line(engine: Engine, request_: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        engine.recommend(request_)
    assert "\n" not in str(caught.value)


def test_time_may_be_given(engine: Engine) -> None:
    """As a date, or as seconds; items of the future are not available yet."""
    early = engine.recommend({"user_id": USERS[0], "time": "2024-01-09"})
    assert early["time"] == NOW
    assert early["items"] == engine.recommend({"user_id": USERS[0], "time": NOW})["items"]


def test_a_clock_may_be_given(folder: Path) -> None:
    engine = Engine.load(folder, clock=lambda: NOW + 12.7)
    assert engine.recommend({})["time"] == NOW + 12
    engine.track([{"user_id": "u00001", "item_id": "i00001", "event": "click"}])
    assert engine.state.now == NOW + 12


def test_explain(engine: Engine) -> None:
    """Every item says who found it; the answer is the same."""
    plain = engine.recommend({"user_id": USERS[2]})
    told = engine.recommend({"user_id": USERS[2], "explain": True})
    assert ids(told) == ids(plain)
    for place, entry in enumerate(told["items"], 1):
        assert entry["why"]["reason"] == "shown"
        assert entry["why"]["answer"] == place
        assert set(entry["why"]["sources"]) <= set(engine.pipeline.sources)
        assert all(found["rank"] >= 1 for found in entry["why"]["sources"].values())


def test_a_truth_value_is_what_a_table_makes_of_it() -> None:
    """A column of booleans is read as the words true and false; a live request and event say True and False."""
    rows = 60
    events = pl.DataFrame(
        {
            "user_id": [f"u{i % 6}" for i in range(rows)],
            "item_id": [f"i{i % 4}" for i in range(rows)],
            "time": list(range(NOW, NOW + rows)),
            "signed_in": [i % 4 < 2 for i in range(rows)],
        }
    )
    chosen = parse({"data": {"context": ["signed_in"]}, "source": [{"type": "popular", "by": "signed_in", "least": 5}]})
    engine = Engine.of(fit(chosen, from_frames(events)).bundle())
    assert ids(engine.recommend({"context": {"signed_in": True}})) == ["i0", "i1"]
    assert ids(engine.recommend({"context": {"signed_in": False}})) == ["i2", "i3"]
    engine.track([{"user_id": "u0", "item_id": "i3", "signed_in": True}] * 20)
    assert ids(engine.recommend({"context": {"signed_in": True}}))[0] == "i3"
    assert len(engine.catalogue.context["signed_in"]) == 2


def test_explain_and_exclude_agree(engine: Engine) -> None:
    """Places are those of the answer that is given."""
    first = ids(engine.recommend({"user_id": USERS[2]}))[0]
    told = engine.recommend({"user_id": USERS[2], "explain": True, "exclude": [first]})
    assert [entry["why"]["answer"] for entry in told["items"]] == list(range(1, 11))


def test_trace_says_why_and_why_not(engine: Engine) -> None:
    request = {"user_id": USERS[2], "time": NOW}
    shown = ids(engine.recommend(request))
    told = engine.trace(request, shown[0])
    assert (told["item_id"], told["answer"], told["reason"]) == (shown[0], 1, "shown")
    assert engine.trace(request, "no such item") == {
        "item_id": "no such item",
        "found": False,
        "reason": "unknown item",
    }
    everything = engine.catalogue.items.ids.series().to_list()
    reasons = {item: engine.trace(request, item)["reason"] for item in everything}
    assert sorted(item for item, reason in reasons.items() if reason == "shown") == sorted(shown)
    assert {"missed: no source returned it", "ranked below the answer, or ruled out"} <= set(reasons.values())


def test_trace_obeys_the_same_rules(engine: Engine) -> None:
    with pytest.raises(ConfigError, match="request: unknown field 'usr_id'"):
        engine.trace({"usr_id": "u1"}, "i00001")
    request = {"user_id": USERS[2], "exclude": ids(engine.recommend({"user_id": USERS[2]}))[:1]}
    assert engine.trace(request, request["exclude"][0])["reason"] == "excluded by the request"


def test_a_click_moves_the_next_answer(engine: Engine) -> None:
    """What the user clicked just now is no longer shown (the recipe's filter), and others move up."""
    user = "a new user"
    before = engine.recommend({"user_id": user})
    assert engine.track([click(user, ids(before)[0], time=engine.state.now)]) == 1
    after = engine.recommend({"user_id": user})
    assert ids(before)[0] not in ids(after)
    assert after["items"] != before["items"]
    assert {"itemknn", "ease"} & {
        name
        for entry in engine.recommend({"user_id": user, "explain": True})["items"]
        for name in entry["why"]["sources"]
    }


def test_a_new_item_becomes_recommendable(engine: Engine) -> None:
    """Nobody knew it at fit; clicks bring it to everybody through the counts."""
    request = {"user_id": "somebody else", "time": NOW, "k": 30}
    assert engine.trace(request, "hot news")["reason"] == "unknown item"
    engine.track([click(f"reader {i}", "hot news") for i in range(200)])
    assert "hot news" in ids(engine.recommend(request))
    told = engine.trace(request, "hot news")
    assert "popular" in told["sources"]


def test_events_in_any_pieces(folder: Path) -> None:
    """All at once or one by one."""
    events = [click(f"u{i % 7:05}", f"i{i % 30:05}", time=NOW + i // 3, device=f"d{i % 4}") for i in range(60)]
    whole, single = Engine.load(folder), Engine.load(folder)
    whole.track(events)
    for event in events:
        single.track([event])
    assert standing(whole) == standing(single)
    assert whole.track([]) == 0
    assert standing(whole) == standing(single)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"user_id": None}, r"events\[1\]: user_id must be an id, not None"),
    ({"item_id": 1.5}, r"events\[1\]: item_id must be an id, not 1.5"),
    ({"item_id": ["a"]}, r"events\[1\]: item_id must be an id"),
    ({"user_id": True}, r"events\[1\]: user_id must be an id, not True"),
    ({"event": "clik"}, r"events\[1\]: unknown event 'clik'; choices: impression, click"),
    ({"event": None}, r"events\[1\]: unknown event None"),
    ({"value": float("nan")}, r"events\[1\]: value must be a finite number, not nan"),
    ({"value": "much"}, r"events\[1\]: value must be a finite number, not 'much'"),
    ({"time": "yesterday"}, r"events\[1\]: not a time: 'yesterday'"),
    ({"time": NOW + 0.5}, r"events\[1\]: not a time"),
    ({"time": NOW * 1000}, r"events\[1\]: time .* milliseconds"),
    ({"device": ["phone"]}, r"events\[1\]: device must be text or a whole number"),
    ({"value": 1e300}, r"events\[1\]: value must be a finite number"),
    ({"divice": "phone"}, r"events\[1\]: unknown field 'divice'; fields: .*device"),
]


@pytest.mark.parametrize(("wrong", "said"), BAD, ids=[str(wrong) for wrong, _ in BAD])
def test_a_bad_event_changes_nothing(engine: Engine, wrong: dict[str, Any], said: str) -> None:
    """Neither do the good ones beside it: all or nothing."""
    before = standing(engine)
    good = [click("fresh user", "fresh item", device="fresh device"), click("another", "i00001")]
    with pytest.raises(DataError, match=said) as caught:
        engine.track([good[0], {**good[1], **wrong}])
    assert "\n" not in str(caught.value)
    assert standing(engine) == before


def test_text_is_refused_where_ids_are_integers() -> None:
    """An id that looks like an integer is one."""
    events = {"user_id": [1, 2, 3] * 20, "item_id": [7, 8, 9, 10] * 15, "time": list(range(NOW, NOW + 60))}
    made = fit(parse({"source": [{"type": "popular"}]}), from_frames(events))
    engine = Engine.of(made.bundle())
    before = standing(engine)
    refused: list[tuple[dict[str, Any], str]] = [
        ({"item_id": "seven"}, "is text, but the ids of this bundle are integers"),
        ({"user_id": "one"}, "is text, but the ids of this bundle are integers"),
        ({"user_id": 2**63}, "is too large for an id"),
        ({"item_id": str(2**80)}, "is too large for an id"),
    ]
    for wrong, said in refused:
        with pytest.raises(DataError, match=said):
            engine.track([{"user_id": 50, "item_id": 51}, {"user_id": 1, "item_id": 7, **wrong}])
        assert standing(engine) == before
    engine.track([{"user_id": "4", "item_id": "7"}])
    assert engine.catalogue.users.ids.code(4) == 3
    assert ids(engine.recommend({"user_id": 4})) == ids(engine.recommend({"user_id": "4"}))
    assert ids(engine.recommend({"user_id": "text"})) == [7, 8, 9, 10]


def test_one_kind_of_event_need_not_be_named() -> None:
    events = {"user_id": ["a", "b"] * 20, "item_id": ["x", "y", "z", "w"] * 10, "time": list(range(NOW, NOW + 40))}
    engine = Engine.of(fit(parse({"source": [{"type": "popular"}]}), from_frames(events)).bundle())
    assert ids(engine.recommend({})) == ["x", "y", "z", "w"]
    assert engine.track([{"user_id": "c", "item_id": "w"}] * 2) == 2
    assert ids(engine.recommend({})) == ["w", "x", "y", "z"]


def test_all_users_at_once_are_one_by_one(engine: Engine) -> None:
    table = engine.recommend_all([*USERS, "nobody"], k=7, at=NOW)
    assert table.columns == ["user_id", "item_id", "rank", "score", "source"]
    for user in [*USERS[::4], "nobody"]:
        own, answer = table.filter(pl.col("user_id") == user), engine.recommend({"user_id": user, "k": 7, "time": NOW})
        assert own["item_id"].to_list() == ids(answer)
        assert own["score"].to_list() == [entry["score"] for entry in answer["items"]]
        assert own["rank"].to_list() == list(range(1, len(own) + 1))
    everybody = engine.recommend_all(k=2, at=NOW)
    assert everybody["user_id"].unique(maintain_order=True).to_list() == engine.catalogue.users.ids.series().to_list()
    nobody = engine.recommend_all([], k=2)
    assert nobody.schema == everybody.schema
    assert len(nobody) == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [({"k": 0}, "k must be at least 1, not 0"), ({"users": "u00001"}, "a list of ids, not 'u00001'")],
)
def test_many_answers_refuse_what_cannot_be_meant(engine: Engine, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        engine.recommend_all(**options)


def test_a_user_listed_twice_is_answered_twice(engine: Engine) -> None:
    table = engine.recommend_all([USERS[0], USERS[0]], k=3, at=NOW)
    assert table["item_id"].to_list()[:3] == table["item_id"].to_list()[3:]
