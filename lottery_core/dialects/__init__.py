"""Dialects: what the files, names and settings of each framework mean, one row per framework.

No other module of the core names a framework. Another package can add a row with an entry point in the group
``lottery.dialects`` that refers to a :class:`Dialect`.
"""

from lottery_core.dialects.dialect import LOWER_IS_BETTER, Dialect, load
from lottery_core.dialects.registry import GROUP, every, is_running, is_target, named, of_names, of_versions
from lottery_core.dialects.sb3 import ONE_POLICY, TWO_NETWORKS
from lottery_core.dialects.scoring import parse_scoring, scoring_text, split_scoring
from lottery_core.dialects.units import GATES, Part, Shapes, UnitFinder, UnitGroup

__all__ = [
    "GATES",
    "GROUP",
    "LOWER_IS_BETTER",
    "ONE_POLICY",
    "TWO_NETWORKS",
    "Dialect",
    "Part",
    "Shapes",
    "UnitFinder",
    "UnitGroup",
    "every",
    "is_running",
    "is_target",
    "load",
    "named",
    "of_names",
    "parse_scoring",
    "scoring_text",
    "split_scoring",
    "of_versions",
]
