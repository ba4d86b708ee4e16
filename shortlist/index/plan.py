"""Exact or approximate? Decided for every search from how many vectors there are, how many are asked for and how many are allowed.

The exact scan costs about 3 ns per vector (d = 64) and looks only at words of the bitmap that allow something, so it gets cheaper
as a filter gets harder; an approximate index gets worse instead, because what it meets first is mostly banned. So a hard filter, a
long answer and a small index are answered exactly, and the rest is where approximation pays.
"""

from __future__ import annotations

from dataclasses import dataclass

FEW = 20_000  # vectors: the exact scan of so many takes less than 0.1 ms
LEAST_SHARE = 0.05  # of the vectors allowed: below, the exact scan is quicker than lists at the same recall
MOST_SHARE = 0.01  # of the vectors asked for: above, too many lie in places that are not looked at
CARE = 2.3  # effort under a filter, times the root of the share: recall@100 above .995 at .5, .25, .1 and .05 (1M x 64)


@dataclass(frozen=True)
class Plan:
    """exact: which way; effort: times the tuned effort of an approximate search; why: for the trace."""

    exact: bool
    effort: float
    why: str


def choose(
    kind: str, count: int, k: int, allowed: int, deep: int = 100, least: float = LEAST_SHARE, short: float = 0.0
) -> Plan:
    """How to search. kind: the approximate index's name; count: vectors in it; allowed: how many of them may come back; deep: the k
    that its effort was tuned for; least: the share of allowed vectors below which it is not asked; short: the recall that it stopped at when it could not
    reach its target, 0 where it did."""
    share = allowed / max(count, 1)
    most = max(deep, int(MOST_SHARE * count))
    if count <= FEW:
        return Plan(True, 1.0, f"int8: {count} vectors are few")
    if k > most:
        return Plan(True, 1.0, f"int8: k = {k} is more than {most}")
    if short:
        return Plan(True, 1.0, f"int8: {kind} finds {short:.3f} of the answer however far it looks")
    if share < least:
        return Plan(True, 1.0, f"int8: only {100 * share:.3g}% of {count} vectors are allowed")
    if allowed == count:
        return Plan(False, 1.0, f"{kind}: all of {count} vectors are allowed")
    effort = CARE / share**0.5
    return Plan(
        False, effort, f"{kind}: {100 * share:.3g}% of {count} vectors are allowed, {effort:.1f} times the effort"
    )
