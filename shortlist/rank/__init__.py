"""Second stage: one file per ranker. A ranker adds one score column."""
