"""One file per feature family. A feature adds columns and never adds, drops or moves rows."""
