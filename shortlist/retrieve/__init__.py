"""First stage: one file per candidate source. A source adds candidate rows, each with its score."""
