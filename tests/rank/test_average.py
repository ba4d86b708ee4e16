"""Average: the weighted mean of rankers, each on its own columns and seed."""

from typing import Any

import numpy as np
import pytest

from shortlist.core.component import build
from shortlist.core.contracts import FitContext
from shortlist.core.errors import ConfigError
from shortlist.rank.average import Average
from tests.rank.test_blend import frame

CTX = FitContext(None, ("click",), place="ranker.average", seed=5)
TREES = {"type": "catboost", "iterations": 20, "columns": 0.5, "threads": 1}
LINEAR = {"type": "linear", "steps": 10}


def test_it_is_the_weighted_mean_of_its_rankers() -> None:
    made, asked = frame(1.0, 2.0, 1), frame(1.0, 2.0, 2).batch
    part = Average(of=[TREES, TREES, LINEAR], weights=[1.0, 2.0, 0.5])
    part.fit(made, None, CTX)
    scores = []
    for i, entry in enumerate((TREES, TREES, LINEAR)):
        alone = build("rank", entry)
        alone.fit(made, None, FitContext(None, ("click",), place="alone", seed=5 + i))
        scores.append(alone.score(asked).astype(np.float64))
    assert not np.array_equal(scores[0], scores[1])  # another seed is another ranker
    expected = (scores[0] + 2.0 * scores[1] + 0.5 * scores[2]) / 3.5
    np.testing.assert_allclose(part.score(asked), expected, rtol=1e-6)


def test_equal_weights_and_importance() -> None:
    made = frame(1.0, 2.0, 1)
    part = Average(of=[TREES, TREES])
    part.fit(made, frame(1.0, 2.0, 3, cutoffs=1), CTX)
    assert part.weights == [1.0, 1.0]
    assert part.curve == part._inner[0].curve != {}
    each: list[Any] = [ranker.importance() for ranker in part._inner]
    found = part.importance()
    assert list(found.values()) == sorted(found.values(), reverse=True)
    for name in set(each[0]) | set(each[1]):
        assert found[name] == pytest.approx((each[0].get(name, 0.0) + each[1].get(name, 0.0)) / 2)


def test_bad_options() -> None:
    with pytest.raises(ConfigError, match=r"^average\.of is empty; write at least one ranker"):
        Average(of=[])
    for weights in ([1.0], [1.0, -1.0], [0.0, 0.0]):
        with pytest.raises(
            ConfigError, match=r"^average\.weights: .*: give one for each of the 2 rankers, none below 0, not all 0"
        ):
            Average(weights=weights)
    with pytest.raises(ConfigError, match=r"^average\.of\[1\]: unknown option 'dept'"):
        Average(of=[LINEAR, {"type": "catboost", "dept": 4}])
