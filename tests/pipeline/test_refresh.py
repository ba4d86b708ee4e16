"""A pipeline kept near real time: what is due when, what a step and a rebuild know, and that the one in use is never touched."""

import threading
from typing import Any

import numpy as np

from shortlist.core.batch import Batch
from shortlist.data.dataset import encode
from shortlist.data.synthetic import START
from shortlist.experiment.fit import Fitted, fit
from shortlist.pipeline.refresh import Refresh
from tests.parity.worlds import DAY, recipe, same_batches, shop

T = START + 6 * DAY
SOURCES: list[dict[str, Any]] = [
    {"type": "popular"},
    {"type": "ials", "d": 6, "epochs": 3},
    {"type": "ease", "max_items": 40},
]


def made() -> Fitted:
    """A small pipeline fitted as of T, on a log that goes on."""
    data = encode(shop())
    chosen = recipe(
        source=SOURCES, feature=[{"type": "counts"}, {"type": "vectors", "dim": 3}], ranker=[{"type": "linear", "steps": 10}],
        rule=[], filter=[{"type": "available"}],
    )  # fmt: skip
    return fit(chosen, data, splits=chosen.timeline.at(data, T))


def refresh(fitted: Fitted, **options: Any) -> Refresh:
    return Refresh(fitted.pipeline, fitted.ctx, fitted.data.log.before(T), **options)


def test_what_is_due_when() -> None:
    one = refresh(made(), step="10m", rebuild="1d")
    assert [one.due(T + after) for after in (0, 599, 600, DAY - 1, DAY)] == ["", "", "step", "step", "rebuild"]
    assert one.refreshed(T + 60) is one.pipeline
    first = one.refreshed(T + 600)
    assert one.due(T + 1199) == ""
    assert one.refreshed(T + 1200) is not first
    one.refreshed(T + DAY)
    assert one.due(T + DAY + 599) == ""
    never = refresh(made(), step="", rebuild="")
    assert never.due(T + 1000 * DAY) == ""


def test_a_rebuild_is_a_fit_and_disturbs_nobody() -> None:
    fitted = made()
    log, now = fitted.data.log, T + DAY
    one = refresh(fitted, rebuild="1d")
    users = np.unique(log.before(now).user)
    batch = Batch.of(users, np.array(now), device=np.zeros(len(users), np.int32), load=np.zeros(len(users), np.float32))
    before = fitted.pipeline.recommend(batch, fitted.state, 5)
    one.tell(log.slice(log.position(T), log.position(now)).columns)
    new = one.refreshed(now)
    same_batches(fitted.pipeline.recommend(batch, fitted.state, 5), before)
    again = made()
    again.pipeline.fit(log.before(now), again.ctx.__class__(**{**again.ctx.__dict__, "now": now}))
    for name, part in again.pipeline.sources.items():
        if hasattr(part, "items"):
            np.testing.assert_array_equal(new.sources[name].items, part.items)
    assert new.rankers is fitted.pipeline.rankers
    answer = new.recommend(batch, fitted.state, 5)
    assert answer.m > 0


def test_a_step_moves_what_can_step_only() -> None:
    fitted = made()
    log = fitted.data.log
    one = refresh(fitted, step="6h", rebuild="")
    one.tell(log.slice(log.position(T), log.position(T + DAY)).columns)
    new = one.refreshed(T + DAY)
    assert new.sources["ease"] is fitted.pipeline.sources["ease"]
    assert new.sources["ials"] is not fitted.pipeline.sources["ials"]
    wanted = fitted.pipeline.sources["ials"].stepped(log.before(T + DAY), fitted.ctx, T)
    np.testing.assert_array_equal(new.sources["ials"].items, wanted.items)


def test_the_window_forgets() -> None:
    fitted = made()
    log = fitted.data.log
    one = refresh(fitted, window="1d")
    one.tell(log.slice(log.position(T), log.position(T + DAY)).columns)
    kept = one.log(T + DAY)
    assert kept.time.min() >= T
    assert len(kept) == log.position(T + DAY) - log.position(T)


def test_events_come_in_while_others_are_joined() -> None:
    fitted = made()
    log = fitted.data.log
    one = refresh(fitted)
    start, count = log.position(T), 200

    def write() -> None:
        for i in range(count):
            one.tell(log.slice(start + i, start + i + 1).columns)

    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        one.log(T)
    writer.join()
    assert len(one.log(2**40)) == start + count
