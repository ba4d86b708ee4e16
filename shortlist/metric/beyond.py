"""Beyond accuracy: what share of the catalogue is shown, how evenly, how novel, how varied, how biased to the popular.

Lists are ragged as in metric/ranking: request i was shown `items[offsets[i]:offsets[i + 1]]`, best first; only the first k
count, and negative items are empty places. Figures of one request are (n,) arrays, NaN where a list says nothing (empty, or
too short), so that metric/interval leaves them out; figures of the whole are floats.
"""

import numpy as np
from numba import njit

from shortlist.core.batch import Array
from shortlist.core.errors import DataError
from shortlist.core.rows import run_place


def coverage(offsets: Array, items: Array, k: int, catalogue: int) -> float:
    """Share of the catalogue that is shown to anybody. catalogue: how many items could have been shown; it is the caller's
    to say, because items that appeared only after the cut-off could not."""
    shown = len(np.unique(_shown(offsets, items, k)[1]))
    if catalogue < max(shown, 1):
        raise DataError(f"a catalogue of {catalogue} items cannot show {shown}")
    return shown / catalogue


def gini(offsets: Array, items: Array, k: int, catalogue: int) -> float:
    """Gini coefficient of how often each item of the catalogue is shown, never-shown items included: 0 = all equally often,
    towards 1 = one item only. With exposures x sorted ascending: sum of (2j - N - 1) x_j / (N sum x). NaN when nothing is."""
    counts = np.unique(_shown(offsets, items, k)[1], return_counts=True)[1]
    if catalogue < max(len(counts), 1):
        raise DataError(f"a catalogue of {catalogue} items cannot show {len(counts)}")
    if not len(counts):
        return float("nan")
    place = np.arange(catalogue - len(counts) + 1, catalogue + 1)  # items never shown sort first and add nothing
    return float(((2 * place - catalogue - 1) * np.sort(counts)).sum() / (catalogue * counts.sum()))


def novelty(offsets: Array, items: Array, k: int, counts: Array) -> Array:
    """(n,) mean over the list of -log2(share of training events), the self-information of Zhou et al. 2010, in bits.

    counts: (items,) training events per item code. An item without any counts as met once, so that it is finite and more
    novel than everything that was met twice; codes past the end are items without any.
    """
    return _mean(offsets, items, k, -np.log2(np.maximum(_count(counts), 1.0) / _total(counts)))


def popularity(offsets: Array, items: Array, k: int, counts: Array) -> Array:
    """(n,) mean over the list of the training events per item: the average recommendation popularity (Abdollahpouri et al.
    2019). Compare it with the same figure of what the users took; see `lift`."""
    return _mean(offsets, items, k, _count(counts))


def lift(shown: Array, taken: Array) -> float:
    """Popularity bias: how much more popular is what is shown than what was taken, as a share of the latter
    (popularity lift, Abdollahpouri et al. 2020): 0 = as popular. shown, taken: (n,) `popularity` of both; NaN left out."""
    both = ~(np.isnan(shown) | np.isnan(taken))
    base = float(taken[both].mean()) if both.any() else 0.0
    return float(shown[both].mean()) / base - 1.0 if base > 0 else float("nan")


def tail(offsets: Array, items: Array, k: int, counts: Array, head: float = 0.8) -> Array:
    """(n,) share of the list outside the head (APLT, Abdollahpouri et al. 2019). The head is the fewest items that hold a
    `head` share of the training events, ties to the smaller code."""
    popular = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[popular]) - counts[popular]
    in_tail = np.ones(len(counts) + 1)
    in_tail[popular[before < head * _total(counts)]] = 0.0
    return _mean(offsets, items, k, in_tail)


def diversity(offsets: Array, items: Array, k: int, tag_offsets: Array, tags: Array) -> Array:
    """(n,) mean over the pairs of a list of 1 - Jaccard similarity of their tags (intra-list diversity, Ziegler et al. 2005;
    Smyth & McClave 2001). With one category per item: the share of pairs of two categories.

    tag_offsets, tags: ragged category codes by item code, as `Table.tags` gives them, distinct within an item. An item
    without tags is like no other. NaN for fewer than two items.
    """
    kept, shown = _shown(offsets, items, k)
    if len(shown) and shown.max() >= len(tag_offsets) - 1:
        raise DataError(f"item code {shown.max()} is shown, but tags are given for {len(tag_offsets) - 1} items")
    return _diversity(kept, shown, np.asarray(tag_offsets, dtype=np.int64), np.asarray(tags))


def _shown(offsets: Array, items: Array, k: int) -> tuple[Array, Array]:
    """Offsets and items of the first k of each list, empty places dropped."""
    keep = (run_place(offsets) < k) & (items >= 0)
    return np.concatenate([[0], np.cumsum(keep)])[offsets], items[keep]


def _mean(offsets: Array, items: Array, k: int, per_item: Array) -> Array:
    """(n,) mean of an item column over the first k of each list. per_item: (items + 1,), the last for codes past the end."""
    kept, shown = _shown(offsets, items, k)
    sizes = np.diff(kept)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    sums = np.bincount(owner, weights=per_item[np.minimum(shown, len(per_item) - 1)], minlength=len(sizes))
    return np.where(sizes > 0, sums / np.maximum(sizes, 1), np.nan)


def _count(counts: Array) -> Array:
    """Counts with a last entry for items that came later."""
    return np.append(np.asarray(counts, dtype=np.float64), 0.0)


def _total(counts: Array) -> float:
    total = float(np.sum(counts))
    if total <= 0:
        raise DataError("popularity needs training events; the counts are all zero")
    return total


@njit(cache=True, nogil=True)
def _diversity(offsets: Array, items: Array, tag_offsets: Array, tags: Array) -> Array:
    out = np.full(len(offsets) - 1, np.nan)
    for i in range(len(offsets) - 1):
        first, last = offsets[i], offsets[i + 1]
        if last - first < 2:
            continue
        unlike, pairs = 0.0, 0
        for left in range(first, last):
            mine = tags[tag_offsets[items[left]] : tag_offsets[items[left] + 1]]
            for right in range(left + 1, last):
                others = tags[tag_offsets[items[right]] : tag_offsets[items[right] + 1]]
                shared = 0
                for tag in mine:
                    for other in others:
                        shared += tag == other
                union = len(mine) + len(others) - shared
                unlike += 1.0 - shared / union if union > 0 else 1.0
                pairs += 1
        out[i] = unlike / pairs
    return out
