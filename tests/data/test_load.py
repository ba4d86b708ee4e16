"""The loaders of public sets: on small made-up copies of their files always, on the real files where they are there."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from shortlist.core.errors import ConfigError
from shortlist.data.check import summary, violations
from shortlist.data.dataset import read, tables
from shortlist.data.schema import Tables

DATA = Path(os.environ.get("SHORTLIST_DATA", Path(__file__).parents[3] / "shared" / "data"))


def write(folder: Path, **frames: dict[str, Any]) -> None:
    for stem, columns in frames.items():
        pl.DataFrame(columns).write_parquet(folder / f"{stem}.parquet")


def rows(loaded: Tables, *columns: str) -> list[tuple[Any, ...]]:
    return loaded.events.select(columns).rows()


def test_globo(tmp_path: Path) -> None:
    context = {name: [1, 2, 1] for name in ("environment", "device_group", "os", "country", "region")}
    times = [1508111999, 1508198399, 1508198400]
    clicks = {"user_id": [1, 1, 2], "item_id": [7, 8, 7], "timestamp": times, "session_size": [2, 2, 2], **context}
    items = {"item_id": [7, 8], "category_id": [1, None], "words_count": [100, None], "created_at": [1508100000, None]}
    write(tmp_path, interactions=clicks, items=items)
    loaded = tables(f"globo:{tmp_path}")
    assert rows(loaded, "user_id", "item_id", "time") == [(1, 7, 1508111999), (1, 8, 1508198399)]
    assert "session_size" not in loaded.events.columns
    assert loaded.notes == ("1 clicks from 2017-10-17 on are left out",)
    assert len(tables(f"globo:{tmp_path}", until="2017-10-16").events) == 1
    dataset = read(f"globo:{tmp_path}")
    assert set(dataset.catalogue.context) == set(context)
    kinds = {name: column.kind for name, column in dataset.catalogue.items.columns.items()}
    assert kinds == {"category_id": "category", "words_count": "number", "created_at": "moment"}
    assert dataset.catalogue.items.values("created_at", np.array([0])).tolist() == [1508100000]


def ml1m(folder: Path) -> None:
    ratings = {
        "user_id": [1, 1, 1, 2],
        "item_id": [10, 11, 12, 10],
        "rating": [5, 4, 3, 2],
        "position": [2, 0, None, 0],
        "timestamp_est": [300, 100, 200, 150],
    }
    timed = {"user_id": [2, 1], "item_id": [10, 11], "rating": [2, 4], "timestamp": [150, 160]}
    write(
        folder,
        interactions=ratings,
        interactions_ts_users_1_2999=timed,
        items={
            "item_id": [10, 11, 12],
            "title": ["A", "B", "C"],
            "year": [1990, 1991, 1992],
            "genres": [["x"], [], ["y"]],
        },
        items_text={"item_id": [12, 10], "overview": ["third", "first"], "director": ["d", "e"]},
        users={
            "user_id": [1, 2, 3000],
            "gender": ["F", "M", "M"],
            "age": [1, 25, 56],
            "zip": ["1", "2", "3"],
            "occupation_name": ["artist", "farmer", "writer"],
        },
    )


def test_ml1m(tmp_path: Path) -> None:
    ml1m(tmp_path)
    timed = tables(f"ml1m:{tmp_path}")
    assert rows(timed, "user_id", "item_id", "time", "value") == [(2, 10, 150, 2.0), (1, 11, 160, 4.0)]
    assert timed.users is not None
    assert timed.users["user_id"].to_list() == [1, 2]
    loo = tables(f"ml1m:{tmp_path}", variant="loo", text=True)
    assert rows(loo, "user_id", "item_id", "time") == [(1, 11, 100), (1, 10, 300), (2, 10, 150)]
    assert loo.items is not None
    assert loo.items["overview"].to_list() == ["first", None, "third"]
    assert read(f"ml1m:{tmp_path}").catalogue.users.columns["age"].kind == "category"
    with pytest.raises(ConfigError, match="unknown variant 'all'; choices: timed, loo"):
        tables(f"ml1m:{tmp_path}", variant="all")


def test_kuairand(tmp_path: Path) -> None:
    shown: dict[str, list[Any]] = {
        "user_id": [1, 2, 1],
        "item_id": [5, 6, 6],
        "timestamp": [900, 900, 901],
        "tab": [1, 0, 1],
    }
    flags = ("is_click", "long_view", "is_like", "is_follow", "is_comment", "is_forward", "is_hate")
    marks = [[1, 1, 1, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0, 1], [0, 1, 0, 0, 0, 0, 0]]
    for j, flag in enumerate(flags):
        shown[flag] = [mark[j] for mark in marks]
    shown["play_time_ms"] = [2500, 100, 7000]
    before: dict[str, list[Any]] = {
        "user_id": [1, 2],
        "history_len": [60, 0],
        "last_timestamp": [500, 600],
        "last_exposed_items": [[6, 7, 5], []],
        "last_long_watched_items": [[7, 6], [5]],
        "last_liked_items": [[6], []],
    }
    video = {
        "item_id": [5, 6, 7],
        "author_id": [9, 8, 9],
        "video_type": ["NORMAL"] * 3,
        "upload_type": ["x", "y", "x"],
        "tag": ["1,2", None, "3"],
        "music_id": [1, 1, 2],
        "music_type": [9.0, None, 4.0],
        "video_duration": [1000.0, None, 2000.0],
        "upload_dt": ["2022-04-10", "2022-04-11", "2022-04-10"],
    }
    person = {
        "user_id": [1, 2],
        "user_active_degree": ["full", "low"],
        **{name: [0, 1] for name in ("is_lowactive_period", "is_live_streamer", "is_video_author")},
        **{name: [10, 20] for name in ("follow_user_num", "fans_user_num", "friend_user_num", "register_days")},
        "register_days_range": ["a", "b"],
        "onehot_feat4": [1.0, None],
    }
    write(tmp_path, interactions=shown, history_before_20220425=before, items=video, users=person)
    loaded = tables(f"kuairand:{tmp_path}")
    columns = ("user_id", "item_id", "time", "event", "request_id", "value")
    # The definition, in plain loops: the lists end at the last time, then exposures with what followed.
    earlier = []
    lists = ("last_exposed_items", "impression"), ("last_long_watched_items", "long_view"), ("last_liked_items", "like")
    for u in range(2):
        for column, kind in lists:
            entries = before[column][u]
            for place, item in enumerate(entries):
                last = before["last_timestamp"][u]
                earlier.append((before["user_id"][u], item, last - (len(entries) - 1 - place), kind, None, None))
    later: list[tuple[Any, ...]] = []
    names = ("click", "long_view", "like", "follow", "comment", "forward", "hate")
    for i in range(3):
        shared = (shown["user_id"][i], shown["item_id"][i], shown["timestamp"][i])
        later.append((*shared, "impression", i, None))
        for kind, mark in zip(names, marks[i], strict=True):
            if mark:
                played = shown["play_time_ms"][i] / 1000 if kind in ("click", "long_view") else None
                later.append((*shared, kind, i, played))
    assert rows(loaded, *columns) == sorted(earlier, key=lambda row: (row[0], row[2])) + later
    assert rows(tables(f"kuairand:{tmp_path}", history=False), *columns) == later
    apart = [(*row[:3], f"earlier_{row[3]}", *row[4:]) for row in sorted(earlier, key=lambda row: (row[0], row[2]))]
    assert rows(tables(f"kuairand:{tmp_path}", apart=True), *columns) == apart + later
    assert loaded.users is not None
    users = loaded.users.select("user_id", pl.col("^earlier_.*$")).to_dict(as_series=False)
    # Of the three videos that the first user was shown last, two were watched for long and one was liked; nothing was shown to the second.
    assert users == {
        "user_id": [1, 2],
        "earlier_exposures": [60.0, 0.0],
        "earlier_long_views": [2.0, 1.0],
        "earlier_long_view_rate": [2 / 3, None],
        "earlier_likes": [1.0, 0.0],
        "earlier_like_rate": [1 / 3, None],
    }
    bare = tables(f"kuairand:{tmp_path}", history=False).users
    assert bare is not None
    assert not [name for name in bare.columns if "earlier" in name]
    dataset = read(f"kuairand:{tmp_path}")
    assert dataset.log.columns["tab"].tolist() == [-1] * 7 + [0] * 5 + [1] * 2 + [0] * 2
    kinds = {name: column.kind for name, column in dataset.catalogue.items.columns.items()}
    assert (kinds["tag"], kinds["tag_first"], kinds["author_id"], kinds["video_duration"], kinds["uploaded"]) == (
        "tags",
        "category",
        "category",
        "number",
        "moment",
    )
    assert dataset.catalogue.items.columns["tag_first"].vocabulary is not None
    assert dataset.catalogue.items.columns["tag_first"].vocabulary.series().to_list() == ["1", "3"]
    people = {name: column.kind for name, column in dataset.catalogue.users.columns.items()}
    assert (
        people["onehot_feat4"],
        people["register_days"],
        people["register_days_range"],
        people["is_live_streamer"],
    ) == (
        "category",
        "number",
        "category",
        "category",
    )


def test_online_retail(tmp_path: Path) -> None:
    lines = {
        "user_id": [1, None, 1, 2, 2],
        "item_id": ["A", "A", "POST", "B", "B"],
        "timestamp": [1, 2, 3, 4, 5],
        "invoice_id": ["x", "y", "x", "C1", "z"],
        "quantity": [2, 1, 1, -3, 0],
        "unit_price": [1.5, 1.0, 4.0, 2.0, 2.0],
        "country": ["UK", "UK", "UK", "France", "France"],
        "is_cancellation": [False, False, False, True, False],
    }
    write(
        tmp_path,
        interactions=lines,
        items={"item_id": ["A", "B"], "description": ["MUG", None], "median_unit_price": [1.0, 2.0], "n_lines": [2, 1]},
        users={"user_id": [1, 2], "country": ["UK", "France"], "first_timestamp": [1, 4], "n_lines": [2, 2]},
    )
    loaded = tables(f"online_retail:{tmp_path}")
    assert rows(loaded, "user_id", "item_id", "time", "value", "request_id") == [
        (1, "A", 1, 3.0, "x"),
        (1, "POST", 3, 4.0, "x"),
    ]
    assert loaded.attributes("items") == ["description"]
    assert loaded.attributes("users") == ["country"]


def test_xwines(tmp_path: Path) -> None:
    wine: dict[str, list[Any]] = {
        name: ["a", "b"] for name in ("WineName", "Type", "Elaborate", "Body", "Acidity", "Country", "Website")
    }
    wine |= {"item_id": [1, 2], "ABV": [12.5, 13.0], "RegionID": [5, 6], "WineryID": [7, 7]}
    wine |= {"Grapes": ["['Pinot Noir', \"Nero d'Avola\"]", "[]"], "Harmonize": ["['Beef']", "['Beef', 'Rich Fish']"]}
    rating = {"user_id": [1], "item_id": [2], "rating": [4.5], "timestamp": [9], "vintage": ["1990"]}
    write(tmp_path, interactions=rating, items=wine)
    loaded = tables(f"xwines:{tmp_path}")
    assert loaded.items is not None
    assert loaded.items["grapes"].to_list() == [["Pinot Noir", "Nero d'Avola"], []]
    assert loaded.items["harmonize"].to_list() == [["Beef"], ["Beef", "Rich Fish"]]
    assert rows(loaded, *loaded.events.columns) == [(1, 2, 9, 4.5)]
    kinds = {name: column.kind for name, column in read(f"xwines:{tmp_path}").catalogue.items.columns.items()}
    assert (kinds["region_id"], kinds["abv"], kinds["type"], kinds["grapes"]) == (
        "category",
        "number",
        "category",
        "tags",
    )
    assert "website" not in kinds


# Loader, folder, options, events, users, items in events, items listed: the published counts, as in each SOURCE.md.
REAL: list[tuple[str, str, dict[str, Any], int, int, int, int]] = [
    ("ml100k", "ml-100k", {}, 100_000, 943, 1_682, 1_682),
    ("ml1m", "ml-1m", {}, 487_650, 2_999, 3_615, 3_883),
    ("ml1m", "ml-1m", {"variant": "loo"}, 999_611, 6_040, 3_416, 3_883),
    ("globo", "globo", {}, 2_988_181 - 20_376, 321_872, 45_286, 46_033),
    ("online_retail", "online-retail", {}, 397_924, 4_339, 3_665, 4_070),
    ("xwines", "x-wines-slim", {}, 150_000, 10_561, 1_007, 1_007),
    ("kuairand", "kuairand-pure", {"history": False}, 228_329 + 100_900 + 70_963 + 5_183, 25_156, 6_361, 7_583),
]


def real(folder: str) -> Path:
    path = DATA / folder
    if not path.is_dir():
        pytest.skip(f"real data: no {folder} (set SHORTLIST_DATA)")
    return path


@pytest.mark.parametrize(("name", "folder", "options", "events", "users", "items", "listed"), REAL)
def test_real_counts(
    name: str, folder: str, options: dict[str, Any], events: int, users: int, items: int, listed: int
) -> None:
    loaded = tables(f"{name}:{real(folder)}", **options)
    assert violations(loaded) == []
    about = summary(loaded)
    assert (about.events, about.users, about.items, about.listed_items) == (events, users, items, listed)
    json.dumps(about.json())


def test_real_kuairand_history() -> None:
    about = summary(tables(f"kuairand:{real('kuairand-pure')}"))
    assert about.kinds["impression"] == 228_329 + 817_187
    assert about.kinds["click"] == 100_900
    assert about.kinds["long_view"] == 70_963 + 390_929


def test_real_ml1m_sequences_end_as_in_the_papers() -> None:
    """The last item of every user, by position, is the last in log order."""
    folder = real("ml-1m")
    log = read(f"ml1m:{folder}", variant="loo")
    ratings = pl.read_parquet(folder / "interactions.parquet").drop_nulls("position")
    want = ratings.sort("position").group_by("user_id").agg(pl.col("item_id").last())
    last = {int(user): int(item) for user, item in zip(log.log.user, log.log.item, strict=True)}
    users, items = log.catalogue.users.ids, log.catalogue.items.ids
    got = {users.name(user): items.name(item) for user, item in last.items()}
    assert got == dict(want.rows())
