"""Ids to codes and back, against a dict."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.core.errors import DataError
from shortlist.data.vocabulary import Vocabulary, canonical

IDS = st.one_of(st.lists(st.integers(-(2**63), 2**63 - 1)), st.lists(st.text(max_size=4)))


def oracle(ids: list[object]) -> dict[object, int]:
    codes: dict[object, int] = {}
    for name in ids:
        codes.setdefault(name, len(codes))
    return codes


def series(ids: list[object]) -> pl.Series:
    return pl.Series(ids, dtype=pl.String if ids and isinstance(ids[0], str) else pl.Int64)


@given(IDS)
def test_codes_are_given_in_order_of_arrival(ids: list[object]) -> None:
    want = oracle(ids)
    bulk = Vocabulary(series(ids))
    single = Vocabulary()
    for name in ids:
        assert single.add(name) == want[name]
    for vocabulary in (bulk, single):
        assert len(vocabulary) == len(want)
        assert vocabulary.series().to_list() == list(want)
        assert vocabulary.codes(series(ids)).tolist() == [want[name] for name in ids]
        assert [vocabulary.code(name) for name in ids] == [want[name] for name in ids]
        assert vocabulary.names(np.array([*range(len(want)), -1])).to_list() == [*want, None]


@given(IDS, st.integers(0, 30))
def test_what_comes_later_changes_no_code(ids: list[object], cut: int) -> None:
    early = Vocabulary(series(ids[:cut])).series().to_list()
    assert Vocabulary(series(ids)).series().to_list()[: len(early)] == early


@given(ids=IDS)
def test_saving_and_loading(ids: list[object], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("vocabulary")
    before = Vocabulary(series(ids))
    before.save(folder, "ids")
    after = Vocabulary.load(folder, "ids")
    assert after.series().to_list() == before.series().to_list()
    assert after.codes(series(ids)).tolist() == before.codes(series(ids)).tolist()


def test_unknown_ids_have_no_code() -> None:
    vocabulary = Vocabulary(pl.Series([5, 7]))
    assert vocabulary.codes(pl.Series([7, 6, None])).tolist() == [1, -1, -1]
    assert vocabulary.codes(["7", 5, "x"]).tolist() == [1, 0, -1]
    assert vocabulary.codes(pl.Series(["7", "x"])).tolist() == [1, -1]
    assert "7" in vocabulary
    assert "8" not in vocabulary


def test_text_and_integers_do_not_mix() -> None:
    vocabulary = Vocabulary(pl.Series([5]))
    with pytest.raises(DataError, match="'x' is text, but the ids here are integers, for example 5"):
        vocabulary.add("x")
    assert len(vocabulary) == 1
    text = Vocabulary(pl.Series(["5"]))
    assert text.add(5) == 0
    assert text.name(0) == "5"


def test_canonical_types() -> None:
    assert canonical(pl.Series([1], dtype=pl.UInt16)).dtype == pl.Int64
    assert canonical(pl.Series(["a"], dtype=pl.Categorical)).dtype == pl.String
    assert canonical(pl.Series([None])).dtype == pl.Int64


def test_files_are_plain_arrays(tmp_path: Path) -> None:
    Vocabulary(pl.Series(["ä", "", "b"])).save(tmp_path, "ids")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ids.bytes.npy", "ids.ends.npy"]
    assert np.load(tmp_path / "ids.ends.npy", allow_pickle=False).tolist() == [2, 2, 3]
