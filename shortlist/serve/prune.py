"""Pruning: events and answers that a bundle's data hold already need not stand in the log for ever.

Up to the position that the bundle's data reach, the contents of events, answers and users go; positions, idempotency keys, the coming and going of items and
erasures stay. Lost are: older bundles (none can be started on this log again: `readable`), parity of old answers, old exposures of
experiments, and, without the export that the bundle was fitted on, what was pruned."""

from __future__ import annotations

from shortlist.core.errors import ConfigError
from shortlist.serve import entry
from shortlist.serve.eventlog.contract import EventLog, Stored

KEPT = (entry.ITEMS, entry.ITEMS_GONE, entry.ERASED)
WORD = "pruned"  # of the log: the position up to which contents are gone


def pruned(log: EventLog) -> int:
    """The position up to which a log was pruned, 0 = never."""
    return int(log.meta(WORD) or 0)


def readable(log: EventLog, position: int, bundle: str) -> None:
    """ConfigError where whoever stands at a position cannot go on from there, because what follows has been pruned."""
    gone = pruned(log)
    if position < gone:
        raise ConfigError(
            f"bundle {bundle}: needs the log from position {position} on, and it was pruned up to {gone}: fit a bundle on an export, and say --after"
        )


def prune(log: EventLog, bundle: str) -> tuple[int, int]:
    """Clear what a bundle's data hold: the position up to which that is, and how many entries were cleared. May be asked again, also after a crash.
    bundle: its name; ConfigError for one whose data hold nothing of this log, as far as the log knows. Long."""
    upto = int(log.meta(f"base.{bundle}") or 0)
    if not upto:
        raise ConfigError(
            f"bundle {bundle}: its data hold nothing of this log, as far as is known: serve it with --after first"
        )
    log.note(WORD, str(max(upto, pruned(log))))  # first: nobody may begin before it while it goes on

    def change(stored: Stored) -> bytes | None:
        return b"" if stored.kind not in KEPT and stored.body else None

    return upto, log.rewrite(change, upto)
