"""The public conformance suite: what every part must hold, ours or foreign. Needs pytest. See `shortlist.testing.conformance`."""
