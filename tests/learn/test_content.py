"""Texts and attributes as numbers, against plain loops; models of others, by a stand-in."""

import math
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from shortlist.core.batch import Array
from shortlist.core.errors import ConfigError, MissingExtra
from shortlist.data.catalogue import Table
from shortlist.data.dataset import from_frames
from shortlist.learn import content, text

TITLES = ["Red kite", "red  KETTLE!", None, "blue kite, kite", ""]


def shop() -> Table:
    """Five items, of which one is known by its events only."""
    events = {"user_id": [1, 1], "item_id": [0, 9], "time": [1, 2]}
    items = {
        "item_id": [0, 1, 2, 3, 4],
        "title": TITLES,
        "kind": ["a", "b", "a", None, None],
        "tags": [["x", "y"], ["x"], [], ["y", "z"], None],
        "place": [[1.0, 0.0], [0.0, 2.0], None, [3.0, 4.0], [0.0, 0.0]],
        "price": [1.0, 2.0, 3.0, 4.0, 5.0],
    }
    return from_frames(events, items).catalogue.items


def rows(bags: Sequence[list[str]]) -> list[dict[str, float]]:
    """TF-IDF by hand."""
    filled = sum(bool(bag) for bag in bags)
    spread = Counter(term for bag in bags for term in set(bag))
    made = []
    for bag in bags:
        row = {
            term: math.sqrt(count) * (1 + math.log((1 + filled) / (1 + spread[term])))
            for term, count in Counter(bag).items()
        }
        length = math.sqrt(sum(value**2 for value in row.values()))
        made.append({term: value / length for term, value in row.items()})
    return made


def products(made: list[dict[str, float]]) -> Array:
    return np.array([[sum(value * b.get(term, 0.0) for term, value in a.items()) for b in made] for a in made])


@pytest.mark.parametrize(
    ("grams", "wanted"),
    [(0, ["red", "kite"]), (3, [" re", "red", "ed ", " ki", "kit", "ite", "te "]), (6, [" red ", " kite "])],
)
def test_tokens(grams: int, wanted: list[str]) -> None:
    assert text.tokens("Red, kite!", grams) == wanted


@pytest.mark.parametrize("grams", [0, 3])
def test_texts(grams: int) -> None:
    got = content.matrix(shop(), [], ["title"], grams)
    wanted = products(rows([text.tokens(title or "", grams) for title in TITLES]))
    np.testing.assert_allclose((got @ got.T).toarray(), wanted, atol=1e-12)
    assert wanted[0, 3] > 0


def test_blocks_weigh_alike() -> None:
    """A category, tags and texts: products of the three add up, and rows are unit rows again."""
    got = content.matrix(shop(), ["kind", "tags"], ["title"])
    bags = [
        [["a"], ["b"], ["a"], [], []],
        [["x", "y"], ["x"], [], ["y", "z"], []],
        [text.tokens(title or "") for title in TITLES],
    ]
    parts = [products(rows(each)) for each in bags]
    total = sum(parts)
    length = np.sqrt(np.diag(total))
    wanted = np.divide(total, np.outer(length, length), out=np.zeros((5, 5)), where=np.outer(length, length) > 0)
    np.testing.assert_allclose((got @ got.T).toarray(), wanted, atol=1e-12)
    assert np.diff(got.indptr)[4] == 0


def test_which_columns_are_meant() -> None:
    assert content.shared(shop()) == ["kind"]  # three tags for five items repeat too little
    assert content.texts(shop()) == ["title"]
    assert content.prose(shop(), ["title", "tags"]) == ["Red kite x y", "red  KETTLE! x", "", "blue kite, kite y z", ""]
    with pytest.raises(ConfigError, match=r"here: 'price' is a number column; choices: .*kind.*tags"):
        content.matrix(shop(), ["price"], place="here")
    with pytest.raises(ConfigError, match="'price' is a number column; text must be"):
        content.prose(shop(), ["price"])
    with pytest.raises(ConfigError, match="'title' is a category column; choices: place"):
        content.given(shop(), "title")


def test_dense_keeps_the_products() -> None:
    made = content.matrix(shop(), ["kind", "tags"], ["title"])
    dense = content.dense(made, 20)
    assert np.isnan(dense[4]).all()
    np.testing.assert_allclose(dense[:4] @ dense[:4].T, (made @ made.T).toarray()[:4, :4], atol=1e-6)


def test_given_vectors_become_unit_rows() -> None:
    nan = [math.nan, math.nan]
    got = content.unit_rows(content.given(shop(), "place"))
    np.testing.assert_allclose(got, np.array([[1.0, 0.0], [0.0, 1.0], nan, [0.6, 0.8], nan]), rtol=1e-6)


class Encoder:
    """Stands in for a model: the number of letters, and of spaces."""

    def __init__(self, folder: str, local_files_only: bool) -> None:
        assert local_files_only, "nothing may be downloaded"
        assert Path(folder).is_dir()

    def encode(self, texts: list[str], **options: Any) -> Array:
        return np.array([[len(each), each.count(" ")] for each in texts], dtype=np.float32)


def test_a_local_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("sentence_transformers")
    vars(module)["SentenceTransformer"] = Encoder
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    got = text.embedded(["a b", "", "abc"], str(tmp_path))
    np.testing.assert_array_equal(got, [[3, 1], [np.nan, np.nan], [3, 0]])
    with pytest.raises(ConfigError, match=r"feature\.text\.model: no such folder: 'some/model'"):
        text.embedded(["a"], "some/model", "feature.text")


def test_without_the_extra_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtra, match=r"sentence_transformers.*pip install 'shortlist\[text\]'"):
        text.embedded(["a"], str(tmp_path))
