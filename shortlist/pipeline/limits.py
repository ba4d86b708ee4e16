"""Limits: how long a part may take in a service, and what happens when it fails. Offline nothing has a limit: an error is an error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shortlist.core.component import param
from shortlist.core.errors import ConfigError, choices

# What may happen to an answer when a part fails, by stage; the first is the default. A filter declares its own (`on_error` of its class),
# and one that does not is a hard constraint whose breach nobody has allowed: fail.
ON_ERROR = {
    "source": ("skip", "fail"),
    "filter": ("fail", "keep", "drop"),
    "feature": ("skip", "fail"),
    "ranker": ("skip", "fail"),
    "rule": ("skip", "fail"),
}


@dataclass(frozen=True)
class Limit:
    """What a part may cost and break. budget_ms: after so many milliseconds its request goes on without it; 0 = half of the request's
    deadline. on_error: `skip` goes on without it; a filter can `keep` or `drop` what it did not judge; `fail` gives no answer."""

    budget_ms: float = 0.0
    on_error: str = "fail"


@dataclass
class Serve:
    """How a service keeps its word when a part does not. The `[serve]` table; offline it changes nothing."""

    deadline_ms: float = param(
        100.0,
        "milliseconds from a request's arrival to its answer: then what is ready must do",
        low=1.0,
        high=3_600_000.0,
    )
    failures: int = param(3, "a part that fails so often in a row is left out for a while", low=1)
    retry: str = param(
        "10s", "how long it is left out before it is tried again; twice as long each time", duration=True
    )
    refresh: str = param("10s", "how often the list of last resort is made anew", duration=True)


def limit(spec: dict[str, Any], stage: str, where: str) -> tuple[float, str | None]:
    """`budget_ms` and `on_error` taken out of a part's entry; None where the entry does not say. ConfigError for a value that cannot be."""
    budget = spec.pop("budget_ms", 0.0)
    if isinstance(budget, bool) or not isinstance(budget, int | float) or not 0 <= budget <= 3_600_000:
        raise ConfigError(f"{where}.budget_ms: {budget!r} is not a number of milliseconds from 0 to 3600000")
    on_error = spec.pop("on_error", None)
    if on_error is not None and on_error not in ON_ERROR[stage]:
        raise ConfigError(f"{where}.on_error: {on_error!r} is not a choice; choices: {choices(ON_ERROR[stage])}")
    return float(budget), on_error


def declared(part: Any, stage: str) -> str:
    """What a part of this stage does on error unless its recipe says otherwise."""
    own = getattr(part, "on_error", "") if stage == "filter" else ""
    return own if own in ON_ERROR[stage] else ON_ERROR[stage][0]


def of(limits: Mapping[str, Limit], place: str) -> Limit:
    """The limit of the part at a place (`source.ease`); the stage's own where there is none."""
    found = limits.get(place)
    return found if found is not None else Limit(0.0, ON_ERROR[place.partition(".")[0]][0])
