"""KuaiRand-Pure: two weeks of a short-video feed, every exposure with what the viewer did about it.

Source: Gao et al., "KuaiRand", CIKM 2022 (the standard-policy log, 25 April to 8 May 2022). Licence: CC BY-SA 4.0. Files:
`interactions.parquet`, `items.parquet`, `users.parquet`, `history_before_20220425.parquet`.

Events. Each exposure is one `impression` and, at the same time and with the same request, what followed from it, in this
order: `click`, `long_view`, `like`, `follow`, `comment`, `forward`, `hate`. The value of a click or long view is the
play time in seconds. What a user did before 25 April is known as lists of at most 50 videos, oldest first, without times;
they become earlier events (`impression`, `long_view`, `like`; no request) **one second apart, ending at the user's last
time before that day**: their order and end are real, their pace is not, and the three lists are not aligned. The lists hold no
clicks, so a rate of clicks over impressions would count them as never clicked: with `apart` they are events of the kinds
`earlier_impression`, `earlier_long_view` and `earlier_like`. What they say of a user as a whole stands in the users table:
`earlier_exposures` (all of them, also beyond 50), `earlier_long_views` and `earlier_likes` (at most 50), and
`earlier_long_view_rate` and `earlier_like_rate`, the shares of the videos last shown (at most 50) that are in the other list. All
of it is known on 25 April, not before.

Protocols. Retrieval: the targets are long views of 7-8 May, everything before known, seen videos stay. Click rate: given
the exposures of 7-8 May, predict click and long view with the state as of each exposure.

Caveats: days are Chinese ones: 7 May begins at 2022-05-06T16:00 UTC (the `date` column of the file agrees but for 116
exposures around midnight). 5,827 exposures are there twice (kept as found), 250 long views come without a click. Only
videos of the random pool are here, so feeds have gaps. `video_duration` is in milliseconds; `tag_first` is the first of a
video's tags.
"""

from pathlib import Path

import polars as pl

from shortlist.data import files
from shortlist.data.schema import Tables

FOLLOWING = {
    "click": "is_click",
    "long_view": "long_view",
    "like": "is_like",
    "follow": "is_follow",
    "comment": "is_comment",
    "forward": "is_forward",
    "hate": "is_hate",
}
PLAYED = ("click", "long_view")
EARLIER = {"impression": "last_exposed_items", "long_view": "last_long_watched_items", "like": "last_liked_items"}
COUNTS = ("follow_user_num", "fans_user_num", "friend_user_num", "register_days")
FLAGS = ("is_lowactive_period", "is_live_streamer", "is_video_author")


def load(folder: Path, *, history: bool = True, apart: bool = False) -> Tables:
    """Exposures and what followed. history: put the events from before 25 April in front; apart: under kinds of their own."""
    events = _exposures(files.table(folder / "interactions.parquet"))
    users = _users(files.table(folder / "users.parquet"))
    if history:
        before = files.table(folder / "history_before_20220425.parquet")
        events = pl.concat([_history(before, "earlier_" if apart else ""), events], how="diagonal_relaxed")
        users = users.join(_earlier(before), on="user_id", how="left", maintain_order="left")
    items = _items(files.table(folder / "items.parquet"))
    codes = [name for name in users.columns if name.startswith("onehot_") or name in FLAGS]
    note = (
        "events before 2022-04-25 have the right order and made-up times, one second apart" if history else "no history"
    )
    return Tables(events, items, users, name="kuairand", categories=("tab", "music_type", *codes), notes=(note,))


def _exposures(rows: pl.DataFrame) -> pl.DataFrame:
    """One event per exposure and one per thing that followed, in the order of the file."""
    rows = rows.with_row_index("request_id").with_columns(pl.col("timestamp").alias("time"))
    seconds = pl.col("play_time_ms").cast(pl.Float64) / 1000
    shared = ("user_id", "item_id", "time", "request_id", "tab")
    no_value = pl.lit(None, dtype=pl.Float64).alias("value")
    pieces = [rows.select(*shared, pl.lit("impression").alias("event"), no_value)]
    for kind, flag in FOLLOWING.items():
        value = seconds.alias("value") if kind in PLAYED else no_value
        pieces.append(rows.filter(pl.col(flag) == 1).select(*shared, pl.lit(kind).alias("event"), value))
    # A stable sort by exposure leaves the pieces of one exposure in the order above.
    return pl.concat(pieces).sort("request_id", maintain_order=True)


def _history(users: pl.DataFrame, prefix: str) -> pl.DataFrame:
    """The lists of each user as events; the last entry of every list is at the user's last time. prefix: of their kinds."""
    pieces = []
    for kind, name in EARLIER.items():
        entries = users.filter(pl.col(name).list.len() > 0).select(
            "user_id", pl.col(name).alias("item_id"), "last_timestamp", back=pl.int_ranges(pl.col(name).list.len())
        )
        flat = entries.explode("item_id", "back")
        behind = pl.len().over("user_id").cast(pl.Int64) - 1 - pl.col("back")
        pieces.append(
            flat.select(
                "user_id",
                "item_id",
                (pl.col("last_timestamp") - behind).alias("time"),
                pl.lit(prefix + kind).alias("event"),
            )
        )
    return pl.concat(pieces).sort("user_id", "time", maintain_order=True)


def _earlier(users: pl.DataFrame) -> pl.DataFrame:
    """What the lists say of each user as a whole: how much, and what share of the videos last shown was watched for long, or liked."""
    shown = pl.col(EARLIER["impression"])
    columns = [pl.col("user_id").cast(pl.UInt32), pl.col("history_len").cast(pl.Float64).alias("earlier_exposures")]
    for kind, name in (("long_view", "long_views"), ("like", "likes")):
        taken = pl.col(EARLIER[kind])
        share = shown.list.set_intersection(taken).list.len() / shown.list.n_unique()
        columns += [
            taken.list.len().cast(pl.Float64).alias(f"earlier_{name}"),
            pl.when(shown.list.len() > 0).then(share).alias(f"earlier_{kind}_rate"),
        ]
    return users.select(columns)


def _items(videos: pl.DataFrame) -> pl.DataFrame:
    tags = pl.col("tag").str.split(",")
    return videos.select(
        pl.col("item_id").cast(pl.UInt32),
        "author_id",
        "video_type",
        "upload_type",
        tags.alias("tag"),
        tags.list.first().alias("tag_first"),
        "music_id",
        pl.col("music_type").cast(pl.Int32),
        "video_duration",
        pl.col("upload_dt").str.to_date().alias("uploaded"),
    )


def _users(users: pl.DataFrame) -> pl.DataFrame:
    ranges = [name for name in users.columns if name.endswith("_range")]
    onehot = [pl.col(name).cast(pl.Int32) for name in users.columns if name.startswith("onehot_")]
    return users.select(pl.col("user_id").cast(pl.UInt32), "user_active_degree", *FLAGS, *ranges, *COUNTS, *onehot)
