"""The event log of a service: one ordered list of entries that every worker folds. SQLite by default, Redis Streams for replicas."""
