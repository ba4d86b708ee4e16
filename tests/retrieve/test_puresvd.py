"""PureSVD against the dense decomposition of numpy."""

import numpy as np
import pytest

from shortlist.retrieve.puresvd import Puresvd
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
