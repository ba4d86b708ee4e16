"""Vector features against plain loops over the history."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.core.batch import Array, Batch, Columns
from shortlist.core.contracts import FitContext
from shortlist.core.errors import ConfigError
from shortlist.core.rows import offsets_of
from shortlist.data.log import Log
from shortlist.feature._space import _compare, _norms
from shortlist.feature.similarity import Similarity
from shortlist.feature.text import Text
from shortlist.feature.vectors import Vectors
from shortlist.learn import content
from shortlist.state.state import State
from shortlist.testing.suite import told
from shortlist.testing.toy import Small
from tests.retrieve import slow

NAMES = ("max", "mean", "last", "dot", "norm")


def ready(part: Any, world: Small | None = None) -> State:
    world = world or slow.small()
    folds = told(part, world.ctx)
    part.fit(world.log, world.ctx)
    return world.state(folds)


def history(user: int, last: int) -> list[int]:
    """Distinct items of the newest `last` clicks, newest first."""
    items = [item for who, item, _ in slow.events() if who == user][-last:]
    return list(dict.fromkeys(reversed(items)))


def expected(batch: Batch, near: Array, far: Array, fold: Any, last: int, decay: float) -> dict[str, list[float]]:
    """near: (items, d) of cosines; far: (items, d) of inner products; fold(history) -> a vector in the space of far."""
    out: dict[str, list[float]] = {name: [] for name in NAMES}
    for i in range(batch.n):
        own = history(int(batch.user[i]), last)
        own = [item for item in own if not np.isnan(near[item, 0])]
        vector = fold(own) if own else None
        for item in batch.item[batch.offsets[i] : batch.offsets[i + 1]].tolist():
            row = dict.fromkeys(NAMES, math.nan)
            if not np.isnan(near[item, 0]):
                row["norm"] = float(np.linalg.norm(far[item]))
                lengths = np.linalg.norm(near, axis=1)
                cosines = [float(near[item] @ near[j] / lengths[item] / lengths[j]) for j in own]
                weights = [decay**place for place in range(len(own))]
                if own:
                    row["max"], row["last"] = max(cosines), cosines[0]
                    row["mean"] = sum(w * c for w, c in zip(weights, cosines, strict=True)) / sum(weights)
                    row["dot"] = float(vector @ far[item])
            for name in NAMES:
                out[name].append(row[name])
    return out


def same(got: Columns, title: str, wanted: dict[str, list[float]]) -> None:
    assert set(got) == {f"{title}/{name}" for name in NAMES}
    for name in NAMES:
        column = got[f"{title}/{name}"]
        assert column.dtype == np.float32
        np.testing.assert_allclose(column, np.array(wanted[name]), atol=2e-4, err_msg=name)
        assert len(np.unique(column)) > 10


@pytest.mark.parametrize(("last", "decay"), [(4, 0.7), (50, 1.0)])
def test_svd(last: int, decay: float) -> None:
    part = Similarity(dim=7, last=last, decay=decay)
    state = ready(part)
    batch = slow.small().candidates()
    x = slow.clicked()
    known = x.any(axis=0)
    _, s, vt = np.linalg.svd(x[:, known], full_matrices=False)
    v = np.full((x.shape[1], 7), np.nan)
    v[known] = vt[:7].T
    same(
        part.compute(batch, state), "similarity",
        expected(batch, v * s[:7], v, lambda own: v[own].sum(axis=0), last, decay),
    )  # fmt: skip


def test_als() -> None:
    part = Similarity(vectors="als", dim=6, last=8)
    state = ready(part)
    batch = slow.small().candidates()
    alpha0, reg, _, count = part.solver[:4]
    v = np.full((60, 6), np.nan)  # the newest items have no event yet
    v[: len(part.items)] = part.items
    known = v[~np.isnan(v[:, 0])]
    assert count == len(known)

    def fold(own: list[int]) -> Array:
        ridge = alpha0 * known.T @ known + reg * (len(own) + alpha0 * count) * np.eye(6)
        return np.linalg.solve(ridge + v[own].T @ v[own], v[own].sum(axis=0))

    same(part.compute(batch, state), "similarity", expected(batch, v, v, fold, 8, 0.9))


@pytest.mark.parametrize(
    ("part", "rows"),
    [
        (Similarity(vectors="content", dim=100), lambda table: content.matrix(table, ["*"])),
        (Similarity(vectors="text", dim=100), lambda table: content.matrix(table, [], ["title"])),
        (Text(dim=100, columns=["title", "tags"], grams=3), None),
        (Text(dim=100), lambda table: content.matrix(table, [], ["title"])),
    ],
    ids=["content", "text", "grams of two columns", "words of one column"],
)
def test_what_items_are(part: Any, rows: Any) -> None:
    """All directions kept, cosines are those of the TF-IDF rows; inner products are with the weighted mean of the history."""
    state = ready(part)
    table, batch = slow.small().catalogue.items, slow.small().candidates()
    made = rows(table) if rows else content.matrix(table, [], ["title", "tags"], 3)
    v = made.toarray()

    def fold(own: list[int]) -> Array:
        weights = 0.9 ** np.arange(len(own))
        return np.asarray(weights @ v[own] / weights.sum())

    title = "similarity" if isinstance(part, Similarity) else "text"
    got = part.compute(batch, state)
    norm = got.pop(f"{title}/norm")
    wanted = expected(batch, v, v, fold, 50, 0.9)
    np.testing.assert_allclose(norm, wanted["norm"], atol=1e-4)  # one: they are unit rows
    for name in NAMES[:-1]:
        np.testing.assert_allclose(got[f"{title}/{name}"], wanted[name], atol=2e-4)
        assert len(np.unique(got[f"{title}/{name}"])) > 10


def test_vectors() -> None:
    """The numbers behind the inner product; what is not there is NaN."""
    part, near = Vectors(dim=9), Similarity(dim=9)
    state = ready(part)
    ready(near)
    batch = slow.small().candidates()
    columns, wanted = part.compute(batch, state), near.compute(batch, state)
    assert list(columns) == [f"vectors/{title}/{c}" for title in ("item", "user") for c in range(9)]
    product = sum(columns[f"vectors/item/{c}"].astype(float) * columns[f"vectors/user/{c}"] for c in range(9))
    np.testing.assert_allclose(product, wanted["similarity/dot"], atol=1e-5)
    assert len(np.unique(product)) > 10
    few = Vectors(vectors="content", columns=["category"], dim=40, user=False)
    state = ready(few)
    columns = few.compute(batch, state)
    assert np.isnan(columns["vectors/item/39"]).all()
    assert not np.isnan(columns["vectors/item/0"]).all()


def test_a_click_changes_the_next_request_and_a_new_item_is_missing() -> None:
    world, part = slow.small(), Similarity(dim=5)
    early = world.log.slice(0, len(world.log) // 8)
    part.folds(world.ctx)
    part.fit(early, world.ctx)
    state = world.state()
    batch = world.candidates()
    new = (batch.item >= len(part.items)) | np.isnan(part.items[np.minimum(batch.item, len(part.items) - 1), 0])
    assert 0 < new.sum() < batch.m
    before = part.compute(batch, state)
    assert all(np.isnan(column[new]).all() for column in before.values())
    user = batch.user[batch.owner[~new]][0]
    click = {name: column[:1].copy() for name, column in world.log.of_kinds(world.ctx.kinds(())).columns.items()}
    item = next(item for item in np.flatnonzero(~np.isnan(part.items[:, 0])) if item not in history(int(user), 50))
    state.apply(
        click | {"user": np.array([user], np.int32), "item": np.array([item], np.int32), "time": batch.time[:1]}
    )
    again = Batch(batch.req, batch.offsets, batch.cand)
    changed = part.compute(again, state)["similarity/last"] != before["similarity/last"]
    own = (batch.user[batch.owner] == user) & ~new
    assert changed[own].all()
    others = ~own & ~np.isnan(before["similarity/last"])
    assert others.any()
    assert not changed[others].any()


def test_a_name_of_ones_own() -> None:
    part = Similarity(dim=4)
    part.folds(FitContext(slow.small().catalogue, ("click",), place="feature.near"))
    part.fit(slow.small().log, slow.small().ctx)
    assert set(part.compute(slow.small().candidates(), slow.small().state())) == {f"near/{name}" for name in NAMES}


def test_unknown_vectors_are_one_line() -> None:
    with pytest.raises(ConfigError, match="unknown vectors 'bert'; choices: svd, als, content, text"):
        ready(Similarity(vectors="bert"))
    with pytest.raises(ConfigError, match="unknown column 'colour'"):
        ready(Similarity(vectors="item.colour"))


def test_an_empty_log_gives_columns(tmp_path: Path) -> None:
    for vectors in ("svd", "als"):
        part, world = Similarity(vectors=vectors, dim=4), slow.small()
        part.folds(world.ctx)
        part.fit(Log({name: column[:0] for name, column in world.log.columns.items()}), world.ctx)
        columns = part.compute(world.candidates(), world.state())
        assert all(np.isnan(column).all() for column in columns.values())


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(0, 40), st.integers(0, 9), st.integers(0, 2**31))
def test_the_kernel(d: int, length: int, rows: int, seed: int) -> None:
    """Any width and any number of items; alone and after a neighbour the same bits."""
    draw = np.random.default_rng(seed)
    unit = draw.normal(size=(12, d)).astype(np.float32)
    unit /= np.linalg.norm(unit, axis=1)[:, None]
    unit[3] = np.nan
    vectors = unit * 2
    items = draw.integers(-1, 15, rows + 4).astype(np.int32)
    past_items = draw.choice([0, 1, 2, 4, 5, 6], length + 23).astype(np.int32)
    weights = draw.random(length + 23).astype(np.float32)
    users = draw.normal(size=(2, d)).astype(np.float32)
    both, one = np.zeros((5, rows + 4), dtype=np.float32), np.zeros((5, rows), dtype=np.float32)
    _compare(
        offsets_of(np.array([4, rows])), items, offsets_of(np.array([23, length])), past_items, weights,
        unit, vectors, _norms(vectors), users, both,
    )  # fmt: skip
    _compare(
        offsets_of(np.array([rows])), items[4:], offsets_of(np.array([length])), past_items[23:], weights[23:],
        unit, vectors, _norms(vectors), users[1:], one,
    )  # fmt: skip
    np.testing.assert_array_equal(both[:, 4:], one)
    for r, item in enumerate(items[4:].tolist()):
        wanted = np.full(5, np.nan)
        if 0 <= item < 12 and item != 3:
            wanted[4] = 2
            if length:
                cosines = unit[past_items[23:]] @ unit[item]
                mean = (weights[23:] * cosines).sum() / weights[23:].sum()
                wanted[:4] = cosines.max(), mean, cosines[0], users[1] @ vectors[item]
        np.testing.assert_allclose(one[:, r], wanted, atol=1e-4)
