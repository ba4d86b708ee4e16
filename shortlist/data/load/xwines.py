"""X-Wines (slim): 150,000 ratings of 1,007 wines by 10,561 people, 2012-2021, with rich attributes of the wines.

Source: de Azambuja et al., "X-Wines: a wine dataset for recommender systems", 2023. Licence: CC0. Files:
`interactions.parquet`, `items.parquet`.

Protocol: global temporal. Caveats: one rating per person and wine, so seen wines never come back. The vintage of a rating
belongs to the bottle that was chosen, not to the request, and the list of a wine's vintages runs into the future: dropped.
"""

from pathlib import Path

import polars as pl

from shortlist.data import files
from shortlist.data.schema import Tables

CATEGORIES = ("Type", "Elaborate", "Body", "Acidity", "Country")


def load(folder: Path) -> Tables:
    """Ratings as events of kind `rating` with the stars (1 to 5 in halves) as value."""
    ratings = files.table(folder / "interactions.parquet")
    events = ratings.select("user_id", "item_id", pl.col("timestamp").alias("time"), pl.col("rating").alias("value"))
    wines = files.table(folder / "items.parquet")
    items = wines.select(
        "item_id",
        pl.col("WineName").alias("title"),
        *(pl.col(name).alias(name.lower()) for name in CATEGORIES),
        _texts("Grapes"),
        _texts("Harmonize"),
        pl.col("ABV").alias("abv"),
        pl.col("RegionID").alias("region_id"),
        pl.col("WineryID").alias("winery_id"),
    )
    return Tables(events, items, name="xwines", default_kind="rating")


def _texts(name: str) -> pl.Expr:
    """A list as Python prints it, `['Pinot Noir', "Nero d'Avola"]`, as a list of text."""
    quoted = pl.col(name).str.extract_all("""'[^']*'|"[^"]*\"""")
    return quoted.list.eval(pl.element().str.slice(1, pl.element().str.len_chars() - 2)).alias(name.lower())
