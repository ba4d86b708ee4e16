"""For all tests: one hypothesis profile, and skipped tests are said loudly at the end, with their reasons."""

from collections import Counter

import pytest
from hypothesis import settings

# No deadline: the first call of a kernel compiles it. Derandomised: a failure is the same on every machine.
settings.register_profile("shortlist", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("shortlist")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was not tested, and why: a green run that skipped half must not look like a green run."""
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reasons[text.removeprefix("Skipped: ")] += 1
    if not reasons:
        return
    terminalreporter.section(f"NOT TESTED: {reasons.total()} skipped", sep="!", red=True, bold=True)
    for reason, count in reasons.most_common():
        terminalreporter.line(f"{count:5d}  {reason}", red=True)
