"""Dialects: one row a framework of what its files, names and settings mean.

No other module of the core names a framework. Another package adds a row as an entry point of the group
``lottery.dialects``, whose object is a :class:`Dialect`.
"""

from lottery_core.dialects.dialect import Dialect, load
from lottery_core.dialects.registry import GROUP, every, is_target, named, of_names
from lottery_core.dialects.sb3 import ONE_POLICY, TWO_NETWORKS
from lottery_core.dialects.scoring import scoring_text, split_scoring

__all__ = [
    "GROUP",
    "ONE_POLICY",
    "TWO_NETWORKS",
    "Dialect",
    "every",
    "is_target",
    "load",
    "named",
    "of_names",
    "scoring_text",
    "split_scoring",
]
