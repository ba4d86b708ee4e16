"""Online Retail: purchase lines of a British gift shop, December 2010 to December 2011; many customers are wholesalers.

Source: UCI machine learning repository 352 (Chen, 2012). Licence: CC BY 4.0. Files: `interactions.parquet`,
`items.parquet`, `users.parquet`.

Protocol: everything before 2011-11-01 is known; the targets are each customer's first basket in November, repeats
allowed. Lines without a customer, cancellations and lines without a positive quantity are left out. Codes that are not
products (POST, M, DOT, ...) are kept: the published figures count them as items, and a basket is what was on the invoice.

Caveats: times are UK local time read as UTC. `n_lines`, `median_unit_price` and `first_timestamp` are totals over the whole
period and therefore contain the future: dropped.
"""

from pathlib import Path

import polars as pl

from shortlist.data import files
from shortlist.data.schema import Tables


def load(folder: Path) -> Tables:
    """Lines as events of kind `purchase`; the value is what was paid, the request is the invoice."""
    lines = files.table(folder / "interactions.parquet")
    bought = pl.col("user_id").is_not_null() & ~pl.col("is_cancellation") & (pl.col("quantity") > 0)
    kept = lines.filter(bought)
    events = kept.select(
        "user_id",
        "item_id",
        pl.col("timestamp").alias("time"),
        (pl.col("quantity") * pl.col("unit_price")).alias("value"),
        pl.col("invoice_id").alias("request_id"),
        "country",
    )
    items = files.table(folder / "items.parquet").select("item_id", "description")
    users = files.table(folder / "users.parquet").select("user_id", "country")
    note = f"{len(lines) - len(kept)} lines without customer, cancelled, or without a positive quantity are left out"
    return Tables(events, items, users, name="online_retail", default_kind="purchase", notes=(note,))
