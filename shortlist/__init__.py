"""Shortlist: a multi-stage recommender system, trained, measured and served by one and the same object."""

__version__ = "0.1.0"
