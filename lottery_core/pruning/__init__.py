"""Pruning: one round of it, the criteria that rank parameters, the kinds of ticket, and rewind points."""

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
    UNPRUNED,
    WINNING,
    any_rewinds,
    check_kind,
    control_ticket,
    needs_rewind_point,
    starts_rewound,
)
from lottery_core.pruning.prune import check_rate, prune, schedule
from lottery_core.pruning.seeds import derive_seed
from lottery_core.pruning.selection import check_scope_shares, prune_masks
from lottery_core.pruning.timepoints import (
    AFTER_REWIND,
    FULL,
    INIT,
    KEPT,
    LEARNING_RATE,
    NOTHING,
    REMAINING,
    Point,
    parse_point,
)
from lottery_core.pruning.zeros import forgotten_masks

__all__ = [
    "AFTER_REWIND",
    "FULL",
    "INIT",
    "KEPT",
    "LEARNING_RATE",
    "NOTHING",
    "REMAINING",
    "Point",
    "parse_point",
    "CHAINS",
    "CONTROLS",
    "CRITERIA",
    "DENSE",
    "FLOOR",
    "FRESH",
    "KINDS",
    "MAGNITUDE",
    "MEANINGS",
    "UNPRUNED",
    "REWIND",
    "WINNING",
    "Criterion",
    "any_rewinds",
    "check_kind",
    "needs_rewind_point",
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
