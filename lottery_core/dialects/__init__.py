"""Dialects: one row a framework of what its files, names and settings mean.

No other module of the core names a framework. Another package adds a row as an entry point of the group
``lottery.dialects``, whose object is a :class:`Dialect`.
"""

from lottery_core.dialects.dialect import LOWER_IS_BETTER, Dialect, load
from lottery_core.dialects.registry import GROUP, every, is_target, named, of_names, of_versions
from lottery_core.dialects.sb3 import ONE_POLICY, TWO_NETWORKS

__all__ = [
    "GROUP",
    "LOWER_IS_BETTER",
    "ONE_POLICY",
    "TWO_NETWORKS",
    "Dialect",
    "every",
    "is_target",
    "load",
    "named",
    "of_names",
    "of_versions",
]
