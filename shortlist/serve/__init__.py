"""The same object online: an engine that recommends and tracks."""
