"""Quality on real data, held on both sides: ML-100K, the last tenth of time predicted from the rest for users who
have a history, seen removed. A figure
above its band is as suspicious as one below. The sources' own tests say that they compute what they say; these, that it is
of use."""

import functools
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shortlist.core.batch import Batch
from shortlist.core.component import names
from shortlist.core.contracts import FitContext, Mask
from shortlist.data.dataset import Dataset, read
from shortlist.retrieve.als_content import AlsContent
from shortlist.retrieve.content import Content
from shortlist.retrieve.cooccurrence import Cooccurrence
from shortlist.retrieve.ctr_top import CtrTop
from shortlist.retrieve.eals import Eals
from shortlist.retrieve.ease import Ease
from shortlist.retrieve.hybridsvd import Hybridsvd
from shortlist.retrieve.i2i import I2i
from shortlist.retrieve.ials import Ials
from shortlist.retrieve.itemknn import Itemknn
from shortlist.retrieve.newest import Newest
from shortlist.retrieve.popular import Popular
from shortlist.retrieve.puresvd import Puresvd
from shortlist.retrieve.quorum import Quorum
from shortlist.retrieve.random import Random
from shortlist.retrieve.rp3beta import Rp3beta
from shortlist.retrieve.slim import Slim
from shortlist.retrieve.tensor import Tensor
from shortlist.retrieve.trending import Trending
from shortlist.state.state import State
from shortlist.testing.suite import told

ROOT = Path(__file__).parents[2]
FOLDER = Path(os.environ.get("SHORTLIST_DATA", ROOT / ".." / "shared" / "data")) / "ml-100k"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="no ml-100k under SHORTLIST_DATA")


@functools.cache
def data() -> Dataset:
    return read(f"ml100k:{FOLDER}")


def ndcg(part: Any) -> float:
    """Mean NDCG@10 over the users of the last tenth who have a history."""
    log, catalogue = data().log, data().catalogue
    now = int(log.time[len(log) * 9 // 10])
    known, later = log.before(now), log.slice(log.position(now), len(log))
    ctx = FitContext(catalogue, ("rating",), now=now)
    state = State(catalogue, told(part, ctx), history=4096)
    state.apply(known.columns)
    part.fit(known, ctx)
    users = np.intersect1d(later.user, known.user)
    met = state.history(users)
    hits = part.retrieve(Batch.of(users, np.array(now)), state, 10, Mask(None, met.offsets, met.items))
    gain = 1 / np.log2(np.arange(10) + 2)
    total = 0.0
    for user, items in zip(users, hits.items, strict=True):
        targets = np.unique(later.item[later.user == user])
        total += gain[np.isin(items, targets)].sum() / gain[: len(targets)].sum()
    return float(total / len(users))


BANDS: list[tuple[Any, float]] = [
    (Popular(), 0.1497),
    (Popular(half_life="14d"), 0.2169),
    (CtrTop(event=("rating",), over=("rating",), weigh=True, prior=20.0), 0.1082),
    (Itemknn(), 0.1852),
    (Itemknn(weighting="tfidf"), 0.2002),
    (Itemknn(weighting="bm25"), 0.1999),
    (Cooccurrence(last=0, recency=1.0), 0.1883),
    (Cooccurrence(norm="npmi", last=0, recency=1.0), 0.1087),
    (Ease(), 0.2072),
    (Ials(), 0.2202),
    (Ials(alpha0=0.3, reg=0.03), 0.2101),
    (Puresvd(d=32), 0.2052),
    (Puresvd(d=32, scale=0.6), 0.2175),
    (Hybridsvd(d=32), 0.2180),
    (Content(), 0.0333),
    (Content(combine="max"), 0.0386),
    (AlsContent(), 0.2177),
    (AlsContent(fixed=True), 0.0737),
    (Slim(), 0.2089),
    (Slim(neighbours=100), 0.2030),
    (Rp3beta(), 0.1924),
    (Rp3beta(beta=0.0), 0.1852),
    (Random(), 0.0206),
    (Quorum(by="genres"), 0.0149),
    (Quorum(by="genres", least=50), 0.0575),
    (Eals(), 0.2219),
    (Eals(biases=True), 0.2175),
    (Tensor(mode="value"), 0.1772),
    (Tensor(mode="value", good=4.0), 0.2105),
    (I2i(), 0.1708),
    (Trending(), 0.1147),
    (Newest(), 0.0),  # what came last is what few will ever rate: only the upper side says something
    (Itemknn(weighting="bm25", idf="plain", keep="candidate"), 0.1976),
    (Itemknn(weighting="jaccard", weigh="value", half_life="30d", k=2000, shrink=0.0, cap=0), 0.1923),
    (Rp3beta(normalise=True, keep="both"), 0.2009),
    (Puresvd(d=32, weigh="value"), 0.2142),
    (Slim(k=50), 0.2004),
    (Hybridsvd(d=32, likeness="common"), 0.2143),
]
WITHOUT = {"history": "nobody rates a film twice: all that it can name was seen"}


def test_every_source_has_a_band() -> None:
    """A new source needs a figure here, or a reason."""
    banded = {type(part).__module__.rpartition(".")[2] for part, _ in BANDS}
    assert set(names("retrieve")) == banded | set(WITHOUT)


@pytest.mark.parametrize(("part", "figure"), BANDS, ids=str)
def test_band(part: Any, figure: float) -> None:
    assert ndcg(part) == pytest.approx(figure, abs=0.005)
