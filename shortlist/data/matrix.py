"""The log as a sparse user x item matrix: what most collaborative sources are fitted on."""

import numpy as np
from scipy import sparse

from shortlist.core.batch import Array
from shortlist.data.log import Log


def compact(log: Log) -> tuple[Log, int]:
    """The log with its users numbered 0 to n - 1, so that a matrix has no empty row; and n."""
    users, rows = numbered(log.user)
    return Log({**log.columns, "user": rows}), len(users)


def dense(log: Log) -> tuple[Log, int, Array]:
    """The log with its users and items numbered so; n; and the codes of the items, ascending."""
    by_user, users = compact(log)
    known, rows = numbered(log.item)
    return Log({**by_user.columns, "item": rows}), users, known


def numbered(codes: Array) -> tuple[Array, Array]:
    """The distinct codes, none negative, ascending; and the place of each among them, int32. By a table over all codes, which is ten
    times as quick as to sort them."""
    there = np.zeros(int(codes.max(initial=-1)) + 1, dtype=bool)
    there[codes] = True
    places = np.cumsum(there, dtype=np.int32) - np.int32(1)
    return np.flatnonzero(there).astype(codes.dtype), places[codes]


def interactions(
    log: Log, users: int, items: int, *, counts: bool = False, half_life: float = 0.0, now: int = 0
) -> sparse.csr_array:
    """(users, items) float32 matrix with sorted indices: 1 where the user met the item, or how often (counts), each event
    weighted by 0.5 ** (age / half_life) when half_life > 0 seconds; with decay and no counts, the newest event speaks.
    """
    weight = np.ones(len(log), dtype=np.float64)
    if half_life > 0:
        weight = np.exp2(-(now - log.time) / half_life)
    matrix = sparse.csr_array((weight, (log.user, log.item)), shape=(users, items))
    if not counts:
        matrix = _newest(log, weight, users, items) if half_life > 0 else matrix
    matrix.sum_duplicates()
    if not counts and half_life <= 0:
        matrix.data[:] = 1.0
    return sparse.csr_array(matrix.astype(np.float32))


def worth(log: Log, users: int, items: int) -> sparse.csr_array:
    """(users, items) float32 matrix with sorted indices: the sum of the values of the pair's events. All events have one."""
    matrix = sparse.csr_array((log.columns["value"].astype(np.float64), (log.user, log.item)), shape=(users, items))
    matrix.sum_duplicates()
    return sparse.csr_array(matrix.astype(np.float32))


def _newest(log: Log, weight: Array, users: int, items: int) -> sparse.csr_array:
    """The weight of the newest event of every (user, item) pair."""
    key = log.user.astype(np.int64) * items + log.item
    reverse_key = key[::-1]
    _, first = np.unique(reverse_key, return_index=True)
    rows = len(key) - 1 - first
    return sparse.csr_array((weight[rows], (log.user[rows], log.item[rows])), shape=(users, items))
