"""Tensor: the bases against dense HOOI, the scores against the formula of the paper on dense matrices."""

import numpy as np
import pytest

from shortlist.core.batch import Array, Columns
from shortlist.core.errors import ConfigError
from shortlist.data.log import Log
from shortlist.retrieve.tensor import Tensor, _start, _steps
from shortlist.testing.toy import Small, alone
from tests.retrieve import slow

KINDS = ("click", "cart", "purchase")


def rated() -> Small:
    """The shop, with the clicks rated from 1 to 5 and some not rated."""
    small = slow.small()
    rows = small.log.of_kinds(small.ctx.kinds(()))
    value = np.random.default_rng(0).integers(0, 6, len(rows)).astype(np.float32)
    value[value == 0] = np.nan
    return alone(small, Log({**rows.columns, "value": value}), small.ctx.now)


def entries(world: Small, mode: str, events: tuple[str, ...]) -> list[tuple[int, int, int]]:
    """(user, item, level) of every event, in log order."""
    out = []
    log, codes = world.log, sorted(world.catalogue.kinds.code(name) for name in events)
    for e in range(len(log)):
        kind, time, value = int(log.kind[e]), int(log.time[e]), float(log.columns["value"][e])
        if kind not in codes or (mode == "value" and np.isnan(value)):
            continue
        level = {"kind": codes.index(kind), "hour": time // 3600 % 24, "weekday": (time // 86_400 + 3) % 7}.get(mode)
        out.append((int(log.user[e]), int(log.item[e]), int(value) - 1 if level is None else level))
    return out


def dense(world: Small, found: list[tuple[int, int, int]], levels: int) -> Array:
    """The binary tensor."""
    out = np.zeros((len(world.catalogue.users), len(world.catalogue.items), levels))
    for entry in found:
        out[entry] = 1.0
    return out


def leading(table: Array, d: int) -> Array:
    """The first d left singular vectors."""
    left, values, _ = np.linalg.svd(table, full_matrices=False)
    return left[:, :d][:, values[:d] > 1e-5 * values[0]]


def hooi(x: Array, part: Tensor) -> tuple[Array, Array]:
    """V V' and W W' after the passes, by unfolding the dense tensor."""
    known = np.flatnonzero(x.any(axis=(0, 2)))
    x = x[:, known]
    v, w = _start(0, len(known), part.d), _start(1, x.shape[2], part.d_mode)
    for _ in range(part.epochs):
        u = leading(np.einsum("uir,ia,rb->uab", x, v, w).reshape(x.shape[0], -1), part.d_user)
        v = leading(np.einsum("uir,ua,rb->iab", x, u, w).reshape(x.shape[1], -1), part.d)
        w = leading(np.einsum("uir,ua,ib->rab", x, u, v).reshape(x.shape[2], -1), part.d_mode)
    return v @ v.T, w @ w.T


@pytest.mark.parametrize(
    ("mode", "levels", "good", "wanted"),
    [("kind", 3, 0.0, [1, 0, 0]), ("value", 5, 0.0, [0, 0, 0, 0, 1]), ("value", 5, 4.0, [0, 0, 0, 1, 1]),
     ("weekday", 7, 0.0, None), ("hour", 24, 0.0, None)],
)  # fmt: skip
def test_scores(mode: str, levels: int, good: float, wanted: list[int] | None) -> None:
    part = Tensor(mode=mode, d=6, d_user=5, d_mode=2, epochs=3, tolerance=0.0, good=good, decay=0.9, last=9)
    part.event = KINDS if mode == "kind" else ()
    world = rated() if mode == "value" else slow.small()
    state = slow.ready(part, world)
    found = entries(world, mode, part.event or ("click",))
    x = dense(world, found, levels)
    known = np.flatnonzero(x.any(axis=(0, 2)))
    of_items, of_levels = hooi(x, part)
    np.testing.assert_allclose(part.items[known] @ part.items[known].T, of_items, atol=1e-3)
    batch = slow.small().requests(15)
    got = slow.full_rows(part, state, batch)
    answered = 0
    for i, user in enumerate(batch.user.tolist()):
        p, own = np.zeros(x.shape[1:]), [(item, level) for who, item, level in reversed(found) if who == user]
        for place, pair in enumerate(list(dict.fromkeys(own))[:9]):
            p[pair] = 0.9**place
        now = int(batch.time[i])
        level = now // 3600 % 24 if mode == "hour" else (now // 86_400 + 3) % 7
        gate = np.eye(levels)[level] if wanted is None else np.array(wanted)
        expected = np.full(x.shape[1], np.nan)
        if own:
            expected[known] = of_items @ p[known] @ of_levels @ gate
            answered += 1
        np.testing.assert_allclose(got[i], expected, atol=1e-3)
    assert answered > 10


def test_with_full_bases_it_gives_the_history_back() -> None:
    """V V' and W W' are then identities: an item scores 1 where it was given the highest rating."""
    part = Tensor(mode="value", d=60, d_user=200, d_mode=5, epochs=2)
    world = rated()
    state = slow.ready(part, world)
    batch = world.requests(10)
    got = np.nan_to_num(slow.full_rows(part, state, batch))
    found = entries(world, "value", ("click",))
    for i, user in enumerate(batch.user.tolist()):
        best = {item for who, item, level in found if who == user and level == 4}
        np.testing.assert_allclose(got[i], [item in best for item in range(got.shape[1])], atol=1e-4)
    assert got.sum() > 5


def test_a_rating_says_more_of_those_near_it() -> None:
    """Users who give what they dislike 1 or 2 and what they like 4 or 5: a basis of two levels keeps the low and the high apart."""
    draw = np.random.default_rng(1)
    rows = [
        (u, i, draw.integers(4, 6) if u % 2 == i % 2 else draw.integers(1, 3)) for u in range(40) for i in range(12)
    ]
    user, item, value = (np.array(column) for column in zip(*rows, strict=True))
    small = slow.small()
    columns: Columns = {"user": user.astype(np.int32), "item": item.astype(np.int32), "time": np.arange(len(rows)) + 1}
    kind = np.full(len(rows), small.ctx.kinds(())[0])
    world = alone(small, Log({**columns, "kind": kind, "value": value.astype(np.float32)}), len(rows) + 1)
    part = Tensor(mode="value", d=2, d_user=2, d_mode=2)
    part.fit(world.log, world.ctx)
    low, high = part.gates[:2, 0], part.gates[2:, 0]
    assert high.min() > 0.3
    assert np.abs(low).max() < 0.1


def test_steps() -> None:
    assert _steps(np.array([1.0, 3.0, 3.0, 2.0]), 5).tolist() == [2.0, 3.0]
    assert _steps(np.arange(100.0), 4).tolist() == [25.0, 50.0, 75.0]
    assert _steps(np.array([0.0] * 90 + list(range(1, 11))), 3).tolist() == []
    assert _steps(np.zeros(0), 3).tolist() == []


def test_no_values_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"tensor.mode: 'value', but these events have no values; other modes: kind"):
        slow.ready(Tensor(mode="value"))
