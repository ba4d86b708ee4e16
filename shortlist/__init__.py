"""Shortlist: a multi-stage recommender system, trained, measured and served by one and the same object."""

import os

__version__ = "0.1.0"

# The threads of OpenBLAS, in numpy and scipy, spin for tens of milliseconds after every call, on cores that our own threads need: of an SVD's
# processor time that was two thirds. So they go to sleep at once (2^4 cycles), unless the environment says otherwise, or numpy was
# imported first: the library reads it when it is loaded.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")
