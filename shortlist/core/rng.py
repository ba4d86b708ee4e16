"""Randomness that depends on (seed, names, request), never on the order of calls: batch = single, run = rerun."""

import hashlib

import numpy as np


def rng(seed: int, *names: object) -> np.random.Generator:
    """A generator for one purpose. The same seed and names give the same stream, whatever was drawn elsewhere.

    names: anything with a stable `str`: a purpose, a cut-off, a request id.
    """
    text = "\x1f".join(str(name) for name in names)
    digest = hashlib.blake2b(text.encode(), digest_size=16, key=int(seed).to_bytes(16, "little", signed=True)).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))
