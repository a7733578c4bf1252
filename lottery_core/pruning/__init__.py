"""Pruning: one round of it, the criteria that rank parameters, and the kinds of ticket."""

from lottery_core.pruning.criteria import CRITERIA, MAGNITUDE, Criterion, criterion_named
from lottery_core.pruning.kinds import (
    CHAINS,
    CONTROLS,
    DENSE,
    FLOOR,
    FRESH,
    KINDS,
    MEANINGS,
    REWIND,
    WINNING,
    any_rewinds,
    check_kind,
    control_ticket,
    starts_rewound,
)
from lottery_core.pruning.prune import check_rate, check_scope_shares, prune, prune_masks, schedule
from lottery_core.pruning.seeds import derive_seed
from lottery_core.pruning.zeros import forgotten_masks

__all__ = [
    "CHAINS",
    "CONTROLS",
    "CRITERIA",
    "DENSE",
    "FLOOR",
    "FRESH",
    "KINDS",
    "MAGNITUDE",
    "MEANINGS",
    "REWIND",
    "WINNING",
    "Criterion",
    "any_rewinds",
    "check_kind",
    "check_rate",
    "check_scope_shares",
    "control_ticket",
    "criterion_named",
    "derive_seed",
    "forgotten_masks",
    "prune",
    "prune_masks",
    "schedule",
    "starts_rewound",
]
