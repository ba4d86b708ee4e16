"""Globo.com news: 3.0 million clicks on articles of g1.globo.com in October 2017, sessions of at least two clicks.

Source: "News Portal User Interactions by Globo.com" (Kaggle; de Souza Pereira Moreira et al., CHAMELEON, 2018). Licence:
asks to cite the CHAMELEON papers; research use, do not redistribute. Files: `interactions.parquet`, `items.parquet`.

Protocol: clicks before 2017-10-17 00:00 UTC, the last complete day being the 16th; seen items stay targets, for people do
come back to an article and a third of a day's clicks are on articles of that day.

Caveats. `session_size` counts clicks that are still to come, so it is dropped; session ids and the referrer of the session
are dropped too. `created_at` runs about three hours early against the click clock and is known for a fifth of the
articles (96% of the clicks): it is a moment to take differences of, and not `available_from`.
"""

from pathlib import Path

import polars as pl

from shortlist.core.units import moment
from shortlist.data import files
from shortlist.data.schema import Tables

END = "2017-10-17"  # UTC: afterwards only stragglers
CONTEXT = ("environment", "device_group", "os", "country", "region")


def load(folder: Path, *, until: str = END) -> Tables:
    """Clicks before `until` (an ISO date, UTC), and every article that was ever clicked."""
    clicks = files.table(folder / "interactions.parquet")
    kept = clicks.filter(pl.col("timestamp") < moment(until))
    events = kept.select("user_id", "item_id", pl.col("timestamp").alias("time"), *CONTEXT)
    items = files.table(folder / "items.parquet").select(
        "item_id", "category_id", "words_count", pl.from_epoch("created_at", "s").alias("created_at")
    )
    late = f"{len(clicks) - len(kept)} clicks from {until} on are left out"
    return Tables(events, items, name="globo", default_kind="click", categories=CONTEXT, notes=(late,))
