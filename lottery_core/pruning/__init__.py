"""Pruning: one round of it, the criteria that rank parameters, and the kinds of ticket."""

from lottery_core.pruning.criteria import CRITERIA, MAGNITUDE, Criterion, criterion_named
from lottery_core.pruning.kinds import (
    CHAINS,
    CONTROLS,
    DENSE,
    FRESH,
    KINDS,
    MEANINGS,
    REWIND,
    WINNING,
    check_kind,
    control_ticket,
)
from lottery_core.pruning.prune import check_rate, check_scope_shares, prune, prune_masks, schedule
from lottery_core.pruning.seeds import derive_seed

__all__ = [
    "CHAINS",
    "CONTROLS",
    "CRITERIA",
    "DENSE",
    "FRESH",
    "KINDS",
    "MAGNITUDE",
    "MEANINGS",
    "REWIND",
    "WINNING",
    "Criterion",
    "check_kind",
    "check_rate",
    "check_scope_shares",
    "control_ticket",
    "criterion_named",
    "derive_seed",
    "prune",
    "prune_masks",
    "schedule",
]
