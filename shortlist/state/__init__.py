"""What may be known: folds over the event log, and per-user histories. The same code offline (replay) and online (live)."""
