import numpy as np
import pytest

from shortlist.core.rng import rng


def test_a_stream_does_not_depend_on_other_streams() -> None:
    alone = rng(3, "negatives", 7).random(5)
    other = rng(3, "explore", 7)
    other.random(100)
    mine = rng(3, "negatives", 7)
    assert np.array_equal(np.concatenate([mine.random(2), mine.random(3)]), alone)


def test_seed_and_every_name_count() -> None:
    streams = [
        rng(0),
        rng(1),
        rng(-1),
        rng(0, "a"),
        rng(0, "b"),
        rng(0, "a", 1),
        rng(0, 1, "a"),
        rng(0, "a1"),
        rng(0, ""),
    ]
    assert len({stream.integers(0, 2**63) for stream in streams}) == len(streams) - 1  # no name is the empty name


def test_streams_stay_what_they_were() -> None:
    """Recipes promise the same figures on every machine and in every version."""
    assert rng(0, "shortlist").integers(0, 2**63) == rng(int(np.int64(0)), "shortlist").integers(0, 2**63)
    assert rng(0, "shortlist", 1).integers(0, 1000, 5).tolist() == [511, 545, 341, 866, 344]


@pytest.mark.parametrize("seed", [0, 2**100, -(2**100)])
def test_large_seeds(seed: int) -> None:
    assert 0 <= rng(seed).random() < 1
