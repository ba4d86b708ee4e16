"""The public conformance suite. Any part, ours or foreign, inherits the suite of its kind:

    from shortlist.testing.conformance import SourceSuite

    class TestMine(SourceSuite):
        part = lambda self: Mine(option=3)
        skip = {"test_new_items_and_users": "this source serves a fixed catalogue"}

and pytest runs every check of it. A check that does not apply is skipped by name, with a reason, and reported.
"""

from shortlist.testing.feature import FeatureSuite
from shortlist.testing.fold import FoldSuite
from shortlist.testing.order import FilterSuite, RuleSuite
from shortlist.testing.ranker import RankerSuite
from shortlist.testing.source import PersonalSourceSuite, SourceSuite
from shortlist.testing.suite import PartSuite

__all__ = [
    "FeatureSuite",
    "FilterSuite",
    "FoldSuite",
    "PartSuite",
    "PersonalSourceSuite",
    "RankerSuite",
    "RuleSuite",
    "SourceSuite",
]
