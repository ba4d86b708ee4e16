"""Fitting: labels, sampling and validation against plain loops, and what a fit ends with."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.core.batch import Batch
from shortlist.core.errors import ConfigError
from shortlist.core.rows import offsets_of
from shortlist.data.dataset import Dataset, encode
from shortlist.data.synthetic import START
from shortlist.data.timeline import Requests
from shortlist.experiment.fit import Fitted, fit, labelled, merged_requests, positive_kinds, sample, to_the_end
from shortlist.experiment.replay import batches
from tests.parity.worlds import DAY, RANKERS, recipe, same_batches, shop

SHOP = encode(shop())
ragged = st.lists(st.lists(st.integers(0, 9), max_size=8, unique=True), min_size=1, max_size=5)


def pool_of(lists: list[list[int]]) -> Batch:
    """Candidates by request, with the columns that sampling looks at."""
    counts = np.array([len(entry) for entry in lists], dtype=np.int64)
    offsets = offsets_of(counts)
    items = np.array([item for entry in lists for item in entry], dtype=np.int32)
    best = np.concatenate([np.arange(1, count + 1) for count in counts]).astype(np.float32)
    req = Batch.of(np.arange(len(lists)), np.array(100)).req
    return Batch(req, offsets, {"item": items, "best_rank": best})


def requests_of(lists: list[list[int]]) -> Requests:
    """Targets by request; the grade of an item is its code plus one."""
    n = len(lists)
    items = np.array([item for entry in lists for item in entry], dtype=np.int32)
    return Requests(
        np.arange(n, dtype=np.int32), np.full(n, 100), np.zeros(n, np.int64), offsets_of(np.array([len(e) for e in lists])),
        items, (items + 1).astype(np.float32), np.full(n, -1),
    )  # fmt: skip


@given(ragged, st.data())
def test_labels_are_the_plain_loop(lists: list[list[int]], data: st.DataObject) -> None:
    """Also for some of the requests only."""
    targets = [data.draw(st.lists(st.integers(0, 9), max_size=5, unique=True)) for _ in lists]
    first = data.draw(st.integers(0, len(lists) - 1))
    expected = [float(item + 1) if item in targets[i] else 0.0 for i in range(first, len(lists)) for item in lists[i]]
    got = labelled(pool_of(lists[first:]), requests_of(targets), first, len(lists))
    assert got.tolist() == expected
    assert got.dtype == np.float32


@settings(max_examples=60)
@given(ragged, st.data(), st.integers(0, 4), st.sampled_from([0.0, 0.5, 1.0]))
def test_sampling(lists: list[list[int]], data: st.DataObject, negatives: int, hard: float) -> None:
    """Requests with a positive, all their positives, so many others (all when 0), the hard ones the best-ranked."""
    label = [[float(data.draw(st.booleans())) for _ in entry] for entry in lists]
    pool = pool_of(lists)
    pool = pool.with_columns({"label": np.array([value for entry in label for value in entry], dtype=np.float32)})
    made = sample(pool, negatives, hard, seed=0)
    kept = [i for i, entry in enumerate(label) if any(entry)]
    assert made.user.tolist() == kept
    for place, i in enumerate(kept):
        own = made.request(place)
        positives = [item for item, value in zip(lists[i], label[i], strict=True) if value]
        others = [item for item, value in zip(lists[i], label[i], strict=True) if not value]
        got = own.item.tolist()
        assert [item for item in lists[i] if item in got] == got, "rows keep their order"
        assert [item for item in got if item in positives] == positives
        chosen = [item for item in got if item in others]
        assert len(chosen) == (len(others) if negatives == 0 else min(negatives, len(others)))
        if negatives:
            # The best-ranked rows of the whole pool, as many as hard ones are wanted, come before any that is drawn.
            sure = [item for item in lists[i][: round(hard * negatives)] if item in others]
            assert set(sure) <= set(chosen)
        same_batches(sample(pool.request(i), negatives, hard, seed=0), own)


def test_another_seed_draws_others() -> None:
    pool = pool_of([list(range(10))] * 40)
    pool = pool.with_columns({"label": np.tile(np.eye(1, 10, dtype=np.float32)[0], 40)})
    one, other = sample(pool, 3, 0.0, seed=0), sample(pool, 3, 0.0, seed=1)
    assert one.item.tolist() != other.item.tolist()
    drawn = np.bincount(one.item, minlength=10)
    assert drawn[0] == 40
    assert (drawn[1:] > 3).all(), "some rows are never drawn"


def test_merged_requests_are_one_after_the_other() -> None:
    one, other = requests_of([[1, 2], []]), requests_of([[3]])
    both = merged_requests(one, other)
    assert both.offsets.tolist() == [0, 2, 2, 3]
    assert both.items.tolist() == [1, 2, 3]
    assert both.take(np.array([2, 0])).items.tolist() == [3, 1, 2]


@functools.cache
def everything(**timeline: Any) -> Fitted:
    chosen = recipe(timeline={"cutoffs": 2, **timeline}, ranker=RANKERS[:1])
    return fit(chosen, SHOP, splits=chosen.timeline.at(SHOP, START + 8 * DAY))


def test_the_frame_is_what_it_should_be() -> None:
    """Every request has a positive and at most so many others; positives are what the window held."""
    made = everything()
    frame = made.frame
    assert frame is not None
    positives = np.bincount(frame.batch.owner[frame.label > 0], minlength=frame.batch.n)
    assert (positives >= 1).all()
    assert (np.diff(frame.batch.offsets) <= positives + made.recipe.train.negatives).all()
    clicks = SHOP.catalogue.kind_codes(["click"])
    for window in (0, 1):
        start = START + (6 + window) * DAY
        rows = np.flatnonzero((SHOP.log.time >= start) & (SHOP.log.time < start + DAY) & np.isin(SHOP.log.kind, clicks))
        taken = set(zip(SHOP.log.user[rows].tolist(), SHOP.log.item[rows].tolist(), strict=True))
        for i in np.flatnonzero(frame.cutoff == window):
            own = slice(frame.batch.offsets[i], frame.batch.offsets[i + 1])
            assert frame.batch.time[i] == start
            for item, label in zip(frame.batch.item[own].tolist(), frame.label[own].tolist(), strict=True):
                assert label == float((int(frame.batch.user[i]), item) in taken)


def test_held_out_users_train_nothing() -> None:
    made = everything(holdout=0.4)
    held = made.recipe.timeline.held_out(SHOP)
    assert held is not None
    assert made.frame is not None
    assert not held[made.frame.batch.user].any()
    plain = everything()
    assert plain.frame is not None
    assert held[plain.frame.batch.user].any()
    same = made.state.history(np.arange(len(held)))
    assert same.items.tolist() == plain.state.history(np.arange(len(held))).items.tolist(), "the state knows them"


def test_refit_each_is_fitted_as_of_the_end_and_first_is_frozen() -> None:
    """What the sources have learned when the fit is done."""
    ends = {mode: everything(refit=mode).pipeline.sources["itemknn"] for mode in ("each", "first")}
    alone = recipe(ranker=[])
    known = alone.timeline.training(SHOP, alone.timeline.at(SHOP, START + 8 * DAY)[-1])
    old = alone.timeline.training(SHOP, recipe(timeline={"cutoffs": 2}).timeline.at(SHOP, START + 8 * DAY)[0])
    for mode, log in (("each", known), ("first", old)):
        part = alone.sources["itemknn"]
        part.fit(log, everything().ctx)
        np.testing.assert_array_equal(part.values, ends[mode].values)
    assert len(ends["each"].values) != len(ends["first"].values)


def test_to_the_end_uses_everything() -> None:
    """A bundle's last label window ends with the data, and its state knows every event."""
    chosen = recipe(timeline={"cutoffs": 2}, ranker=RANKERS[:1])
    splits = to_the_end(chosen, SHOP)
    assert [split.stop for split in splits][-2:] == [len(SHOP.log)] * 2
    made = fit(chosen, SHOP)
    assert made.state.count == len(SHOP.log)
    assert made.ctx.now == int(SHOP.log.time[-1]) + 1


def test_positive_kinds() -> None:
    """As the recipe says, or all but impressions."""
    assert positive_kinds(recipe(data={"positive": ["cart", "click"]}), SHOP) == ("cart", "click")
    assert set(positive_kinds(recipe(data={"positive": []}), SHOP)) == {"click", "cart", "purchase"}
    with pytest.raises(ConfigError, match=r"data.positive: unknown event kind 'sale'; the data have: impression"):
        positive_kinds(recipe(data={"positive": ["sale"]}), SHOP)


def test_grades_are_labels() -> None:
    """The best grade of what happened; an unknown kind is one line."""
    chosen = recipe(data={"positive": ["click", "purchase"]}, train={"grades": {"purchase": 3.0}}, ranker=RANKERS[:1])
    made = fit(chosen, SHOP, splits=chosen.timeline.at(SHOP, START + 8 * DAY))
    assert made.frame is not None
    assert set(np.unique(made.frame.label).tolist()) == {0.0, 1.0, 3.0}
    wrong = recipe(train={"grades": {"purchas": 3.0}})
    with pytest.raises(ConfigError, match=r"train.grades: unknown event kind 'purchas'"):
        fit(wrong, SHOP)


def test_context_that_is_not_there_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"data.context: no event column 'divice'; columns: user"):
        fit(recipe(data={"context": ["divice"]}), SHOP)


def test_a_single_label_window_trains_and_validates() -> None:
    """Half of its requests each."""
    made = everything(cutoffs=1)
    assert made.frame is not None
    assert made.guard is not None
    assert set(made.frame.cutoff.tolist()) == {0}
    # Refitted on both halves: no user is lost, and none is there twice.
    users = made.frame.batch.user.tolist()
    assert len(set(users)) == len(users)


def test_nothing_found_is_one_line() -> None:
    """Sources that find no target."""
    data: Dataset = SHOP
    chosen = recipe(
        source=[{"type": "history", "event": ["purchase"]}], filter=[{"type": "seen", "event": ["purchase"]}]
    )
    with pytest.raises(ConfigError, match="timeline: no label window holds a positive event that the sources found"):
        fit(chosen, data)


def test_leave_one_out_ends_with_everything() -> None:
    """Events that were held back for labels are in the bundle's state and in what its sources learn."""
    chosen = recipe(timeline={"split": "last", "cutoffs": 2}, ranker=RANKERS[:1])
    made = fit(chosen, SHOP)
    plain = fit(recipe(timeline={"cutoffs": 1}, ranker=[]), SHOP)
    users = np.arange(len(SHOP.catalogue.users))
    assert made.state.count == len(SHOP.log)
    assert made.state.history(users).items.tolist() == plain.state.history(users).items.tolist()
    np.testing.assert_array_equal(made.pipeline.sources["itemknn"].values, plain.pipeline.sources["itemknn"].values)


@pytest.mark.parametrize("timeline", [{"step": "6h"}, {"gap": "6h"}])
def test_no_request_of_a_label_window_is_asked_after_its_own_event(
    timeline: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a window begins before the one before it ends: the state is as of each request, never further."""
    stood: list[tuple[int, int]] = []

    def watched(replay: Any, requests: Requests, *rest: Any) -> Any:
        for first, last, batch in batches(replay, requests, *rest):
            stood.append((replay.state.count, int(requests.position[first])))
            yield first, last, batch

    monkeypatch.setattr("shortlist.experiment.fit.batches", watched)
    chosen = recipe(timeline={"labels": "next", "cutoffs": 2, **timeline}, ranker=RANKERS[:1])
    fit(chosen, SHOP, splits=chosen.timeline.at(SHOP, START + 8 * DAY))
    assert len({count for count, _ in stood}) > 20
    assert all(count == position for count, position in stood)


def test_a_gap_is_kept_from_the_labels_too() -> None:
    """What happens between the prediction time and the window teaches nothing; a bundle is fitted on all there is, as of now."""
    chosen = recipe(timeline={"gap": "6h", "cutoffs": 2}, ranker=RANKERS[:1])
    *labels, test = chosen.timeline.splits(SHOP)[0]
    assert all(int(SHOP.log.time[split.stop - 1]) < test.cut for split in labels)
    made = fit(chosen, SHOP)
    assert made.state.count == len(SHOP.log)
    assert made.ctx.now == int(SHOP.log.time[-1]) + 1


def test_windows_that_all_overlap_the_newest_are_one_line() -> None:
    chosen = recipe(timeline={"cutoffs": 2, "step": "6h"}, train={"validate": 4000}, ranker=RANKERS[:1])
    with pytest.raises(ConfigError, match=r"timeline.cutoffs: every label window reaches into the validation window"):
        fit(chosen, SHOP)


def test_chunks_change_nothing_where_pools_are_empty() -> None:
    """A validation request for which nothing was found counts, alone in its chunk or not."""
    source = [{"type": "history", "event": ["purchase"]}]
    guards = []
    for chunk in (1, 64):
        chosen = recipe(source=source, filter=[], ranker=RANKERS[:1], pipeline={"chunk": chunk})
        made = fit(chosen, SHOP, splits=chosen.timeline.at(SHOP, START + 8 * DAY))
        assert made.guard is not None
        guards.append(made.guard)
    assert guards[0] == guards[1]
