import copy
from pathlib import Path

import numpy as np
import pytest

from shortlist.core.batch import Batch, Columns
from shortlist.core.contracts import Fold
from shortlist.core.errors import BundleError, ConfigError, DataError
from shortlist.state.fold.count import Count
from shortlist.state.fold.decay import Decay
from shortlist.state.fold.distinct import Distinct
from shortlist.state.fold.follow import Follow
from shortlist.state.fold.last import Last
from shortlist.state.fold.rate import Rate
from shortlist.state.fold.session import Session
from shortlist.state.fold.window import Window
from shortlist.state.state import BLOCK, State
from tests.state.folds import Key, keys_of, newest_items
from tests.state.test_folds import arrays_of
from tests.state.test_history import event, lists
from tests.state.test_keys import Model
from tests.state.toys import CATEGORIES, KINDS, REGIONS, events, toy_batch, toy_catalogue, toy_events


def folds() -> list[Fold]:
    """One of each, over codes and pairs, for all kinds and some."""
    return [
        Count(("item",)),
        Count(("user", "item.category"), ("buy",), weigh=True),
        Decay(("item",), ("click", "view"), half_life=("1h",)),
        Decay(("user", "item.category"), ("click",), half_life=("10s",)),
        Window(("user.region", "item"), length="2h", tiles=5),
        Last(("user", "device"), ("buy",)),
        Count((), ("view",)),
        Rate(("item.tags",), ("buy",), ("view",), ("1h", ""), hold="1h"),
        Distinct(("last", "device"), (), "user"),
        Follow(room=3),
        Session(),
    ]


def test_equal_folds_are_kept_once() -> None:
    state = State(toy_catalogue(), [*folds(), *folds(), Count(("item",), ())])
    assert list(state.folds) == [fold.name for fold in folds()]


def test_long_logs_are_cut_into_blocks_that_do_not_show() -> None:
    log = toy_events(BLOCK + 500, seed=2)
    whole, pieces = State(toy_catalogue(), folds(), history=9), State(toy_catalogue(), folds(), history=9)
    whole.apply(log)
    for start in range(0, len(log["time"]), 12_345):
        pieces.apply({name: column[start : start + 12_345] for name, column in log.items()})
    assert arrays_of(whole) == arrays_of(pieces)
    assert whole.count == BLOCK + 500
    assert whole.now == log["time"].max()


@pytest.mark.parametrize("by", [("user", "item"), ("user", "item.tags"), ("last", "item", "device", "hour")])
def test_a_full_table_makes_room_the_same_way_whatever_the_pieces(by: tuple[str, ...]) -> None:
    """The coldest keys go, and what the folds of different kinds kept of them; against a dict of events per key."""
    log = toy_events(600, seed=5)
    made: list[Fold] = [
        Count(by, ("buy",)),
        Count(by, ("view", "buy"), weigh=True),
        Distinct(by, ("view",)),
        Last(by, ("buy",)),
    ]
    states = [State(toy_catalogue(), copy.deepcopy(made), keys=50) for _ in range(3)]
    for state, step in zip(states, (600, 7, 1), strict=True):
        for start in range(0, 600, step):
            state.apply({name: column[start : start + step] for name, column in log.items()})
    assert arrays_of(states[0]) == arrays_of(states[1]) == arrays_of(states[2])
    bought, evicted = survivors(log, by, 50)
    table = states[0]._slots[by]
    assert table.evicted == evicted > 50
    assert table.size == len(bought) <= 50
    counts = states[0].folds[made[0].name].read(np.arange(64), np.array([0]), 0)[0].tolist()
    assert counts == [*(float(count) for count in bought), *[0.0] * (64 - len(bought))]


def survivors(log: Columns, by: tuple[str, ...], limit: int) -> tuple[list[int], int]:
    """Per slot of a table of bounded size, the buys since its key came in; and how many keys went."""
    model, names, bought = Model(limit), dict[Key, int](), [0] * limit
    before, _ = newest_items(log)
    for e in range(len(log["time"])):
        if KINDS[log["kind"][e]] == "click":
            continue  # no fold is handed these
        item, user, device = int(log["item"][e]), int(log["user"][e]), int(log["device"][e])
        for key in keys_of(by, user, item, device, before[e], int(log["time"][e])):
            if key is not None:
                slot, gone = model.add(names.setdefault(key, len(names)), e)
                for one in gone:
                    bought[one] = 0
                bought[slot] += KINDS[log["kind"][e]] == "buy"
    return bought[: model.size], model.evicted


def test_seen_and_met() -> None:
    state = State(toy_catalogue(3000))
    assert state.seen(np.arange(4)).tolist() == [False] * 4
    state.apply(events([0, 0], [2, 2500], [5, 3]))
    assert state.seen(np.array([-1, 0, 2, 2500, 2501, 10**6])).tolist() == [False, False, True, True, False, False]
    assert np.flatnonzero(state.seen(np.arange(3000))).tolist() == [2, 2500]
    assert np.flatnonzero(state.seen(np.arange(100_000))).tolist() == [2, 2500]
    assert state.now == 5


def test_history_keeps_only_its_kinds() -> None:
    log = toy_events(80, seed=1)
    state = State(toy_catalogue(), history=6, history_events=("buy", "view"))
    state.apply(log)
    for user in range(-1, 21):
        mine = [e for e in range(80) if log["user"][e] == user and KINDS[log["kind"][e]] != "click"]
        expected = [event(log, e) for e in mine[-6:]]
        assert lists(state.history(np.array([user]))) == [expected]
        assert lists(state.history(np.array([user]), 2)) == [expected[-2:]]


@pytest.mark.parametrize("counts", [[], [0], [0, 0], [7], [3, 0, 40]])
def test_keys_are_those_of_the_columns(counts: list[int]) -> None:
    state = State(toy_catalogue())
    batch = toy_batch(counts)
    owner, item = batch.owner.tolist(), batch.item.tolist()
    users = [int(batch.user[i]) for i in owner]
    device = [int(batch.req["device"][i]) for i in owner]
    news = {name: i for i, name in enumerate(dict.fromkeys(filter(None, CATEGORIES)))}
    place = {name: i for i, name in enumerate(dict.fromkeys(filter(None, REGIONS)))}
    category = [-1 if CATEGORIES[i % 6] is None else news[str(CATEGORIES[i % 6])] for i in item]
    region = [-1 if u < 0 or REGIONS[u % 3] is None else place[str(REGIONS[u % 3])] for u in users]
    parts = {"item": item, "user": users, "device": device, "item.category": category, "user.region": region}
    assert state.keys((), batch).tolist() == [0] * batch.m
    for first, values in parts.items():
        keys = state.keys((first,), batch)
        assert keys.dtype == np.int64
        assert keys.tolist() == values
        for second, others in parts.items():
            expected = [-1 if a < 0 or b < 0 else (a << 32) + b for a, b in zip(values, others, strict=True)]
            assert state.keys((first, second), batch).tolist() == expected


@pytest.mark.parametrize("counts", [[9], [9, 0, 20]])
def test_a_batch_that_is_asked_again_is_told_what_has_happened_since(counts: list[int]) -> None:
    """Slots and histories are looked up once per batch, and again after the next event."""
    log, batch = toy_events(200), toy_batch(counts)
    batch.user[:] = 3
    state = State(toy_catalogue(), folds())
    for start in range(0, 200, 40):
        state.apply({name: column[start : start + 40] for name, column in log.items()})
        fresh = Batch(batch.req, batch.offsets, batch.cand)
        for name in state.folds:
            np.testing.assert_array_equal(state.values(name, batch), state.values(name, fresh), err_msg=name)
        past = state.past(batch, ("buy",), 3)
        assert lists(past) == lists(state.past(fresh, ("buy",), 3))
        mine = [e for e in range(start + 40) if log["user"][e] == 3 and KINDS[log["kind"][e]] == "buy"]
        assert lists(past) == [[event(log, e) for e in mine[-3:]]] * len(counts)


def test_context_that_a_request_does_not_carry_is_missing() -> None:
    batch = toy_batch([4, 2])
    bare = Batch({"user": batch.user, "time": batch.time}, batch.offsets, batch.cand)
    assert State(toy_catalogue()).keys(("device",), bare).tolist() == [-1] * 6


def test_context_that_events_do_not_carry_is_missing() -> None:
    log = toy_events(30)
    state = State(toy_catalogue(), [Count(("device",)), Count(("item",))])
    state.apply({name: column for name, column in log.items() if name != "device"})
    assert state.read(Count(("device",)).name, np.arange(2), np.array([5])).tolist() == [[0.0, 0.0]]
    assert state.read(Count(("item",)).name, np.arange(40), np.array([5])).sum() == 30


def test_nothing_in_nothing_out() -> None:
    state = State(toy_catalogue(), folds())
    before = arrays_of(state)
    state.apply(toy_events(0))
    assert arrays_of(state) == before
    assert state.read(Count(("item",)).name, np.zeros(0, dtype=np.int64), np.array([5])).tolist() == [[]]
    assert lists(state.history(np.zeros(0, dtype=np.int32))) == []


def test_snapshot_comes_back_bit_for_bit_and_goes_on(tmp_path: Path) -> None:
    log = toy_events(3000, users=1500, seed=4)
    half = [{name: column[a:b] for name, column in log.items()} for a, b in ((0, 1500), (1500, 3000))]
    state = State(toy_catalogue(40, 1500), folds(), history=7, history_events=("click", "buy"))
    state.apply(half[0])
    state.snapshot(tmp_path)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    again = State.load(tmp_path, toy_catalogue(40, 1500))
    assert arrays_of(again) == arrays_of(state)
    batch = toy_batch([40, 40, 0, 3], users=1500)
    users = np.arange(1500, dtype=np.int32)
    for _ in range(2):  # as loaded, then after more events
        for fold in folds():
            keys, times = state.keys(fold.by, batch), batch.spread(batch.time)
            assert again.read(fold.name, keys, times).tobytes() == state.read(fold.name, keys, times).tobytes()
        assert lists(again.history(users)) == lists(state.history(users))
        state.apply(half[1])
        again.apply(half[1])
        assert arrays_of(again) == arrays_of(state)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files


def test_an_untouched_state_comes_back(tmp_path: Path) -> None:
    State(toy_catalogue()).snapshot(tmp_path)
    again = State.load(tmp_path, toy_catalogue())
    again.apply(toy_events(10))
    assert again.count == 10


def test_damaged_snapshots_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"state\.json: not a readable state"):
        State.load(tmp_path, toy_catalogue())
    State(toy_catalogue(), folds()).snapshot(tmp_path)
    (tmp_path / "met.npy").write_bytes(b"")
    with pytest.raises(BundleError, match=r"met\.npy: not a readable array file"):
        State.load(tmp_path, toy_catalogue())
    (tmp_path / "met.npy").unlink()
    with pytest.raises(BundleError, match=r"met\.npy: not a readable array file"):
        State.load(tmp_path, toy_catalogue())


@pytest.mark.parametrize("name", ["user", "item", "kind"])
def test_events_without_a_user_item_or_kind_are_refused_whole(name: str) -> None:
    state = State(toy_catalogue(), folds())
    log = toy_events(9)
    log[name][4] = -1
    before = arrays_of(state)
    with pytest.raises(DataError, match=f"event 4: {name} has code -1; every event must name a known {name}"):
        state.apply(log)
    assert arrays_of(state) == before


def test_event_columns_of_unequal_length_are_refused() -> None:
    log = toy_events(9)
    log["value"] = log["value"][:8]
    with pytest.raises(DataError, match=r"event columns differ in length: .*time 9.*value 8"):
        State(toy_catalogue()).apply(log)


@pytest.mark.parametrize(
    ("fold", "message"),
    [
        (Count(("colour",)), r"unknown key 'colour'; choices: item, user, .* context columns: device"),
        (Count(("item.colour",)), r"unknown column 'colour'; columns: category, tags, vector, price"),
        (
            Count(("user", "item.price")),
            r"key 'item.price' is a number column; columns that may be keys: category, tags",
        ),
        (Count(("last.tags",)), r"key 'last.tags' is a tags column; columns that may be keys: category"),
        (Count(("user.tags",)), r"unknown column 'tags'; columns: region"),
        (
            Count(("item.tags", "item.other")),
            r"only one column of a key may hold lists; these do: item.tags, item.other",
        ),
        (Rate(("item",), ("click",), ("bye",)), r"unknown event kind 'bye'; the data have: click, buy, view"),
        (Count(("item",), ("bye",)), r"unknown event kind 'bye'; the data have: click, buy, view"),
    ],
)
def test_folds_that_the_data_cannot_feed_are_refused(fold: Fold, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        State(toy_catalogue(other=toy_catalogue().items.columns["tags"]), [fold])
    assert str(caught.value).startswith(fold.name)


def test_unknown_aggregates_and_history_kinds_name_the_choices() -> None:
    with pytest.raises(
        ConfigError, match=r"no aggregate 'x' in the state; it keeps: count\(by=item, event=, weigh=False\)"
    ):
        State(toy_catalogue(), [Count()]).read("x", np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64))
    with pytest.raises(ConfigError, match=r"unknown event kind 'bye'; the data have"):
        State(toy_catalogue(), history_events=("bye",))


def test_two_states_may_be_asked_about_one_batch() -> None:
    """Both stand at the same log position, and keep other events: what one looked up must not answer for the other."""
    states = [State(toy_catalogue(), [Count(("item",)), Count(("user", "item"))]) for _ in range(2)]
    for seed, state in enumerate(states):
        state.apply(toy_events(300, seed=seed))
    batch = toy_batch([40, 30])
    for fold in (Count(("item",)), Count(("user", "item"))):
        together = [state.values(fold.name, batch) for state in states]
        alone = [state.values(fold.name, toy_batch([40, 30])) for state in states]
        assert not np.array_equal(alone[0], alone[1])
        np.testing.assert_array_equal(together, alone)
    histories = [state.past(batch, ()) for state in states]
    assert lists(histories[0]) != lists(histories[1])
    assert lists(histories[0]) == lists(states[0].history(batch.user))
