"""The web console, over the HTTP API of serve."""
