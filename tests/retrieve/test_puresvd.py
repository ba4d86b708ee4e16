"""PureSVD against the dense decomposition of numpy."""

import numpy as np
import pytest

from shortlist.data.log import Log
from shortlist.retrieve.puresvd import Puresvd
from shortlist.testing.toy import alone
from tests.retrieve import slow


@pytest.mark.parametrize("scale", [1.0, 0.4])
@pytest.mark.parametrize(("d", "decay"), [(3, 1.0), (10, 0.8)])
def test_scores(scale: float, d: int, decay: float) -> None:
    part = Puresvd(d=d, scale=scale, decay=decay)
    state = slow.ready(part)
    x = slow.clicked()
    known = x.sum(axis=0) > 0
    x = x[:, known]
    v = np.linalg.svd(x * np.linalg.norm(x, axis=0) ** (scale - 1))[2][:d].T
    batch = slow.small().requests(15)
    got = slow.full_rows(part, state, batch)
    answered = 0
    for i, user in enumerate(batch.user.tolist()):
        history = slow.recent(user)
        wanted = np.full(len(known), np.nan)
        if history:
            asked = np.zeros(len(known))
            asked[history] = decay ** np.arange(len(history))
            wanted[known] = v @ (v.T @ asked[known])
            answered += 1
        np.testing.assert_allclose(got[i], wanted, atol=1e-4)
    assert answered > 10


def test_values_weigh() -> None:
    """The matrix of summed ratings; an event without one is no evidence, and its item is not known by it."""
    world = slow.small()
    draw = np.random.default_rng(3)
    values = np.where(draw.random(len(world.log)) < 0.1, np.nan, draw.integers(0, 6, len(world.log))).astype(np.float32)
    rated = alone(world, Log({**world.log.columns, "value": values}), world.ctx.now)
    part = Puresvd(d=4, scale=0.7, weigh="value")
    state = slow.ready(part, rated)
    x = np.zeros_like(slow.clicked())
    clicks = world.log.kind == world.catalogue.kinds.code("click")
    for user, item, value in zip(world.log.user[clicks], world.log.item[clicks], values[clicks], strict=True):
        if value > 0:
            x[user, item] += value
    known = x.sum(axis=0) > 0
    v = np.linalg.svd(x[:, known] * np.linalg.norm(x[:, known], axis=0) ** (0.7 - 1))[2][:4].T
    batch = world.requests(15)
    got = slow.full_rows(part, state, batch)
    answered = 0
    for i, user in enumerate(batch.user.tolist()):
        wanted = np.full(len(known), np.nan)
        if user >= 0 and x[user].any():
            wanted[known] = v @ (v.T @ x[user, known])
            answered += 1
        np.testing.assert_allclose(got[i], wanted, atol=1e-3)
    assert answered > 10
