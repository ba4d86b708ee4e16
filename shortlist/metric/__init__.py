"""Metrics as functions of arrays, with intervals over users."""
