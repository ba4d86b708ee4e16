"""One file per public data set, and the canonical folder. Each has `load(path) -> Tables`."""
