"""The log as a sparse user x item matrix: what most collaborative sources are fitted on."""

import numpy as np
from numba import njit
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
    if len(log) and (log.user.max() >= users or log.item.max() >= items):  # compiled code would write beyond its arrays
        raise ValueError(f"a code is beyond {users} users or {items} items")
    if half_life <= 0:
        indptr, indices, often = _pairs(log.user, log.item, users, items)
        if not counts:
            often[:] = 1.0
        matrix = sparse.csr_array((often, indices, indptr), shape=(users, items))
        matrix.has_canonical_format = True
        return matrix
    weight = np.exp2(-(now - log.time) / half_life)
    if counts:
        matrix = sparse.csr_array((weight, (log.user, log.item)), shape=(users, items))
    else:
        matrix = _newest(log, weight, users, items)
    matrix.sum_duplicates()
    return sparse.csr_array(matrix.astype(np.float32))


@njit(cache=True)
def _pairs(user: Array, item: Array, users: int, items: int) -> tuple[Array, Array, Array]:
    """Distinct pairs as (indptr, indices, data) of a matrix with sorted indices, data float32: how often. Events are put in order of items,
    and then of users, by counting."""
    of_item, ends = np.zeros(items + 1, dtype=np.int32), np.zeros(users + 1, dtype=np.int32)
    for e in range(len(user)):
        of_item[item[e] + 1] += 1
        ends[user[e] + 1] += 1
    for i in range(items):
        of_item[i + 1] += of_item[i]
    for u in range(users):
        ends[u + 1] += ends[u]
    by_item = np.empty(len(user), dtype=np.int32)
    place = of_item[:-1].copy()
    for e in range(len(user)):
        by_item[place[item[e]]] = user[e]
        place[item[e]] += 1
    found = np.empty(len(user), dtype=np.int32)
    place = ends[:-1].copy()
    for i in range(items):
        for p in range(of_item[i], of_item[i + 1]):
            u = by_item[p]
            found[place[u]] = i
            place[u] += 1
    often = np.empty(len(user), dtype=np.float32)
    indptr = np.zeros(users + 1, dtype=np.int32)
    size = 0
    for u in range(users):
        for at in range(ends[u], ends[u + 1]):
            if size > indptr[u] and found[size - 1] == found[at]:
                often[size - 1] += np.float32(1.0)
            else:
                found[size] = found[at]
                often[size] = 1.0
                size += 1
        indptr[u + 1] = size
    return indptr, found[:size].copy(), often[:size].copy()


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
