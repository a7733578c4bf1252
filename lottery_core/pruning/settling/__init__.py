"""When a search round has found its mask: distances between masks, the rule that stops it, and what users type."""

from lottery_core.pruning.settling.distance import PackedMask, changed, jaccard
from lottery_core.pruning.settling.rule import CHECKS, Look, Settling, settles_at
from lottery_core.pruning.settling.watch import MaskWatch
from lottery_core.pruning.settling.words import (
    SEARCH_FULL,
    THRESHOLD,
    Search,
    level_after,
    parse_levels,
    parse_search,
    parse_share,
    rounds_of_levels,
    same_level,
)

__all__ = [
    "CHECKS",
    "Look",
    "MaskWatch",
    "PackedMask",
    "SEARCH_FULL",
    "Search",
    "Settling",
    "THRESHOLD",
    "changed",
    "jaccard",
    "level_after",
    "parse_levels",
    "parse_search",
    "parse_share",
    "rounds_of_levels",
    "same_level",
    "settles_at",
]
