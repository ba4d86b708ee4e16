"""Where work runs: on this machine, or handed to a cluster engine as a `map`."""
