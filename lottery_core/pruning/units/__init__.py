"""Whole units of a pool: which parameters are pruned together, how many survive, masks of units alone."""

from lottery_core.pruning.units.drop import drop_lowest
from lottery_core.pruning.units.find import (
    check_granularity,
    check_reachable,
    layout_of,
    layout_of_ticket,
    layout_of_weights,
)
from lottery_core.pruning.units.layout import Alive, Layout, Survivors, by_unit

__all__ = [
    "Alive",
    "Layout",
    "Survivors",
    "by_unit",
    "check_granularity",
    "check_reachable",
    "drop_lowest",
    "layout_of",
    "layout_of_ticket",
    "layout_of_weights",
]
