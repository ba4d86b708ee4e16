"""The view: what a state has looked up for one batch, so that ten aggregates by one key share one search, and ten families one
history. It is the batch's own, and knows the log position at which it was made: an event in between makes it stale."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numba import njit

from shortlist.core.batch import Array, Batch
from shortlist.core.contracts import History
from shortlist.core.rows import offsets_of
from shortlist.state.form import Form
from shortlist.state.keys import Codes, Hashed


class View:
    """Of a batch of n requests and m candidates, as of log position `count`. It does not hold the batch, which holds it: a circle
    would keep both until somebody looks for circles."""

    def __init__(self, batch: Batch, count: int, previous: Array) -> None:
        """previous: by user, the newest item of the history."""
        self.count = count
        self.n, self.m = batch.n, batch.m
        self.time = batch.time
        self._previous = previous
        self._row_time: Array | None = None
        self._last: Array | None = None
        self.found: dict[int, tuple[Array, Array | None, Array]] = {}  # by form: slots, runs of lists, times to read at
        self.read: dict[str, Array] = {}  # by aggregate: its readings
        self.past: dict[tuple[tuple[str, ...], int], History] = {}

    def slots(self, batch: Batch, form: Form, table: Codes | Hashed) -> tuple[Array, Array | None, Array]:
        """Slots of candidate rows (of requests where nothing depends on the item), with lists: of all entries, and the offsets
        of each row's run; and the times at which to read them, (r,) or (1,)."""
        known = self.found.get(form.number)
        if known is not None:
            return known
        if self.n == 1 and form.is_pair and isinstance(table, Hashed):
            found: tuple[Array, Array | None, Array] = self._pairs(batch, form, table), None, self.time
        elif form.single is not None and (form.of_item or self.n == 1):
            codes, runs = form.single.slots(self._own(batch, form.single.title), batch.req, self.time)
            found = codes, runs, self.time if self.n == 1 else self._times(batch, form, runs)
        else:
            keys, rows = self._keys(batch, form)
            runs = None
            if rows is not None:
                runs = offsets_of(np.bincount(rows, minlength=self.m if form.of_item else self.n))
            found = table.find(keys), runs, self._times(batch, form, runs)
        self.found[form.number] = found
        return found

    def _own(self, batch: Batch, title: str) -> Array:
        """The codes that a key of one column is made of."""
        return batch.item if title == "item" else self.last(batch) if title == "last" else batch.user

    def _times(self, batch: Batch, form: Form, runs: Array | None) -> Array:
        if self.n == 1:
            return self.time
        time = self._spread_time(batch) if form.of_item else self.time
        return time if runs is None else time.repeat(np.diff(runs))

    def _spread_time(self, batch: Batch) -> Array:
        """(m,) the time of each row's request."""
        if self._row_time is None:
            self._row_time = batch.spread(self.time)
        return self._row_time

    def last(self, batch: Batch) -> Array:
        """(n,) the newest item of each request's user, -1 = none."""
        if self._last is None:
            self._last = np.empty(self.n, dtype=np.int32)
            _newest(self._previous, batch.user, self._last)
        return self._last

    def _pairs(self, batch: Batch, form: Form, table: Hashed) -> Array:
        """One request's slots by a column of its own and one of the item, without a key being written down."""
        things = {"item": batch.item, "user": batch.user, "last": self.last(batch) if form.of_last else batch.user}
        first, second = (part.codes(things, batch.req, self.time, 1) for part in form.parts)
        return table.find_pairs(first, second, self.m)

    def keys(self, batch: Batch, form: Form) -> Array:
        """(m,) keys of candidate rows."""
        keys, _ = self._keys(batch, form)
        return keys if form.of_item else batch.spread(keys)

    def _keys(self, batch: Batch, form: Form) -> tuple[Array, Array | None]:
        """Keys of candidate rows; of requests where nothing depends on the item. With lists, also whose entry each is."""
        last = self.last(batch) if form.of_last else batch.user
        if not form.of_item:
            return form.keys({"user": batch.user, "last": last}, batch.req, self.time, self.n)
        if not form.of_request:
            return form.keys({"item": batch.item}, {}, self.time, self.m)
        things = {"item": batch.item, "user": batch.spread(batch.user), "last": batch.spread(last)}
        context: Mapping[str, Array] = {
            part.name: batch.spread(batch.req[part.name])
            for part in form.parts
            if part.name in batch.req and not part.title
        }
        return form.keys(things, context, self._spread_time(batch), self.m)


def spread(rows: Array, batch: Batch) -> Array:
    """(k, n) columns of requests, float32, repeated for every candidate: (k, m)."""
    if batch.n > 1:
        repeated: Array = rows[:, batch.owner]
        return repeated
    out = np.empty((len(rows), batch.m), dtype=np.float32)
    repeat(rows, out)
    return out


# On the request path: numpy takes three times as long for so little.
@njit(cache=True, nogil=True)
def repeat(rows: Array, out: Array) -> None:
    """(k, 1) into every column of (k, m)."""
    for j in range(len(rows)):
        out[j, :] = rows[j, 0]


@njit(cache=True, nogil=True)
def _newest(previous: Array, users: Array, out: Array) -> None:
    for i in range(len(users)):
        out[i] = previous[users[i]] if 0 <= users[i] < len(previous) else -1
