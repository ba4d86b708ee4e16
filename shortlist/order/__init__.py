"""One file per filter (hard constraints, before ranking) or rule (keep and reorder, after it)."""
