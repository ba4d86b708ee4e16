"""MovieLens 100K: 100,000 ratings of 1,682 films by 943 people, 1997-98. For tests.

Source: GroupLens (Harper & Konstan, 2015). Licence: research use, no redistribution, no commercial use without permission.
Files: `interactions.parquet`, `items.parquet`, `users.parquet`.

Protocol: any. Caveats: people rated in a few sittings, so the order within a user is partly the order of a screen.
"""

from pathlib import Path

import polars as pl

from shortlist.data import files
from shortlist.data.schema import Tables


def load(folder: Path) -> Tables:
    """All ratings as events of kind `rating` with the stars as value."""
    ratings = files.table(folder / "interactions.parquet")
    events = ratings.select(
        "user_id", "item_id", pl.col("timestamp").alias("time"), pl.col("rating").cast(pl.Float32).alias("value")
    )
    items = files.table(folder / "items.parquet").select("item_id", "title", "year", "genres")
    users = files.table(folder / "users.parquet").select("user_id", "age", "gender", "occupation", "zip")
    return Tables(events, items, users, name="ml100k", default_kind="rating")
