"""What every filter and rule must hold, beyond its own definition."""

from functools import partial

import numpy as np

from shortlist.core.batch import Array, Batch
from shortlist.core.contracts import Filter, Rule, State
from shortlist.core.rng import rng


def generator(request: int) -> np.random.Generator:
    """The generator of request i in tests."""
    return rng(0, request)


def _of(request: int, _: int) -> np.random.Generator:
    return generator(request)


def rule_rows(rule: Rule, batch: Batch, state: State) -> list[list[int]]:
    """Items that a rule shows for each request; checks that it invents, repeats and moves nothing across requests, and that
    a batch is answered as its requests are one by one."""
    rows = rule.rows(batch, state, generator)
    assert len(np.unique(rows)) == len(rows)
    assert (np.diff(batch.owner[rows]) >= 0).all()
    after = batch.take(rows)
    shown = [after.request(i).item.tolist() for i in range(batch.n)]
    for i in range(batch.n):
        single = batch.request(i)
        alone = single.item[rule.rows(single, state, partial(_of, i))]
        assert alone.tolist() == shown[i]
    return shown


def filter_keep(part: Filter, batch: Batch, state: State) -> Array:
    """What a filter keeps; checks single = batch, and that its mask bans nothing that it keeps."""
    keep = part.keep(batch, state)
    assert keep.dtype == bool
    assert keep.shape == (batch.m,)
    mask = part.mask(batch, state)
    if mask is not None:
        assert mask.allows(batch)[keep].all()
    for i in range(batch.n):
        alone = part.keep(batch.request(i), state)
        assert alone.tolist() == keep[batch.offsets[i] : batch.offsets[i + 1]].tolist()
    return keep
