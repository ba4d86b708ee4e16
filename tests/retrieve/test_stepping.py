"""Steps between two fits of iALS: against dense least squares, and what a step must not touch."""

import numpy as np

from shortlist.core.batch import Array, Batch
from shortlist.learn import als
from shortlist.retrieve.ials import Ials
from shortlist.state.state import State
from shortlist.testing.suite import told
from tests.retrieve import slow

DAY = 86_400


def fitted_early() -> tuple[Ials, int]:
    """iALS fitted on the first half of the shop's clicks by time, so that later clicks bring new items and new users."""
    world = slow.small()
    since = int(world.log.time[len(world.log) // 3])
    part = Ials(d=6, epochs=4)
    part.fit(world.log.before(since), world.ctx)
    return part, since


def half(items: dict[int, Array], chosen: dict[int, list[int]], loss: als.Loss) -> dict[int, Array]:
    """Rows by the normal equations as the paper writes them, one after the other. chosen: the items of each row."""
    every = np.stack(list(items.values()))
    gram, d = every.T @ every, every.shape[1]
    out = {}
    for row, entries in chosen.items():
        x = np.stack([items[item] for item in entries if item in items] or [np.zeros(0)])
        if x.size:
            penalty = loss.reg * (len(x) + loss.alpha0 * len(items)) ** loss.nu
            out[row] = np.linalg.solve(loss.alpha0 * gram + penalty * np.eye(d) + x.T @ x, x.sum(axis=0))
    return out


def met(by_item: bool) -> dict[int, list[int]]:
    """Distinct items of every user, or users of every item, of all clicks."""
    out: dict[int, list[int]] = {}
    for user, item, _ in slow.events():
        row, entry = (item, user) if by_item else (user, item)
        if entry not in out.setdefault(row, []):
            out[row].append(entry)
    return out


def test_a_step_is_two_half_steps_of_least_squares() -> None:
    world = slow.small()
    part, since = fitted_early()
    before = part.items.copy()
    made = part.stepped(world.log, world.ctx, since)
    np.testing.assert_array_equal(part.items, before)
    old = {item: row.astype(np.float64) for item, row in enumerate(part.items) if not np.isnan(row[0])}
    users = half(old, met(by_item=False), part.loss)
    wanted = half(users, met(by_item=True), part.loss)
    recent = {item for _, item, time in slow.events() if time >= since}
    vectors = {item: wanted[item] if item in recent and item in wanted else old[item] for item in {*old, *wanted}}
    # The basis is free: what counts are the products of all items with each other.
    got = np.stack([made.items[item] for item in sorted(vectors)]).astype(np.float64)
    every = np.stack([vectors[item] for item in sorted(vectors)])
    np.testing.assert_allclose(got @ got.T, every @ every.T, atol=2e-4)
    gram = got.T @ got
    np.testing.assert_allclose(gram, np.diag(made.diagonal), atol=1e-3)
    assert int(made.count[0]) == len(vectors) > len(old)


def test_only_warm_rows_and_new_items_move() -> None:
    world = slow.small()
    part, since = fitted_early()
    part.warm = 0.25
    made = part.stepped(world.log, world.ctx, since)
    old = np.flatnonzero(~np.isnan(part.items[:, 0]))
    recent = {item for _, item, time in slow.events() if time >= since}
    length = np.linalg.norm(part.items, axis=1)
    touched = sorted((item for item in old.tolist() if item in recent), key=lambda item: (-length[item], item))
    still = [item for item in old.tolist() if item not in touched[: round(0.25 * len(touched))]]
    np.testing.assert_allclose(
        made.items[still] @ made.items[still].T, part.items[still] @ part.items[still].T, atol=1e-4
    )
    moved = touched[: round(0.25 * len(touched))]
    assert np.abs(np.linalg.norm(made.items[moved], axis=1) - length[moved]).max() > 1e-3
    new = [item for item in recent if item >= len(part.items) or np.isnan(part.items[item, 0])]
    assert new
    assert np.isfinite(made.items[new]).all()


def test_nothing_new_changes_nothing() -> None:
    world = slow.small()
    part, since = fitted_early()
    log = world.log.before(since)
    made = part.stepped(log, world.ctx, since)
    assert made is not part
    np.testing.assert_array_equal(made.items[: len(part.items)], part.items)


def test_a_new_item_is_found_after_a_step() -> None:
    world = slow.small()
    part, since = fitted_early()
    state: State = world.state(told(part, world.ctx))
    made = part.stepped(world.log, world.ctx, since)
    new = np.flatnonzero(~np.isnan(made.items[:, 0]))
    new = new[(new >= len(part.items)) | np.isnan(part.items[np.minimum(new, len(part.items) - 1), 0])]
    users = np.unique(world.log.user[np.isin(world.log.item, new)])
    batch = Batch.of(users, np.array(world.ctx.now))
    assert not np.isin(part.retrieve(batch, state, 60, None).items, new).any()
    assert np.isin(made.retrieve(batch, state, 60, None).items, new).any()
