"""The public conformance suite. Any part, ours or foreign, inherits it in a few lines:

from shortlist.testing.conformance import SourceSuite

class TestMine(SourceSuite):
    part = lambda self: Mine(option=3)
    skip = {"test_unknown_users": "this source is for known users only"}
"""

from shortlist.testing.source import PersonalSourceSuite, SourceSuite

__all__ = ["PersonalSourceSuite", "SourceSuite"]
