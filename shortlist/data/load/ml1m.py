"""MovieLens 1M: a million ratings of 3,706 films by 6,040 people, 2000-2003.

Source: GroupLens (Harper & Konstan, 2015). Licence: research use, no redistribution, no commercial use without permission.
Files: `items.parquet`, `users.parquet`, and by variant `interactions_ts_users_1_2999.parquet` or `interactions.parquet`.

Protocols. `timed`: users 1-2999, whose ratings all have their exact second; test on the newest tenth of time. Everything
that depends on global time must use it. `loo`: everybody, for leave-one-out as in the SASRec papers, which leaks across
users: 999,611 ratings of 3,416 films, the 598 ratings of films with fewer than five being left out as there. The order
within a user is exact; the time is exact for half of the ratings and interpolated in between.

Caveats: users 1-2999 are those who joined last, not a random half. Ties within a second are ordered as in the file.
"""

from pathlib import Path

import polars as pl

from shortlist.core.errors import ConfigError
from shortlist.data import files
from shortlist.data.schema import Tables

VARIANTS = ("timed", "loo")
TEXT = ("overview", "director")


def load(folder: Path, *, variant: str = "timed", text: bool = False) -> Tables:
    """Ratings as events of kind `rating` with the stars as value. text: add the plot and the director to the films."""
    if variant not in VARIANTS:
        raise ConfigError(f"ml1m: unknown variant {variant!r}; choices: {', '.join(VARIANTS)}")
    events = _timed(folder) if variant == "timed" else _in_sequence(folder)
    items = files.table(folder / "items.parquet").select("item_id", "title", "year", "genres")
    if text:
        about = files.table(folder / "items_text.parquet").select("item_id", *TEXT)
        items = items.join(about, on="item_id", how="left", maintain_order="left")
    users = files.table(folder / "users.parquet")
    users = users.select("user_id", "gender", "age", pl.col("occupation_name").alias("occupation"), "zip")
    if variant == "timed":
        users = users.filter(pl.col("user_id") <= 2999)
    # The ages are seven groups, not years.
    return Tables(events, items, users, name=f"ml1m-{variant}", default_kind="rating", categories=("age",))


def _timed(folder: Path) -> pl.DataFrame:
    return files.table(folder / "interactions_ts_users_1_2999.parquet").select(
        "user_id", "item_id", pl.col("timestamp").alias("time"), pl.col("rating").cast(pl.Float32).alias("value")
    )


def _in_sequence(folder: Path) -> pl.DataFrame:
    """Every user's ratings in the order of the papers. The estimated time never runs against it (checked), and ties are
    written in it, so that a stable sort by time keeps it."""
    ratings = files.table(folder / "interactions.parquet").drop_nulls("position").sort("user_id", "position")
    time = pl.col("timestamp_est").cum_max().over("user_id").alias("time")
    return ratings.select("user_id", "item_id", time, pl.col("rating").cast(pl.Float32).alias("value"))
