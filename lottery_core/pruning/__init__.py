"""lottery_core.pruning."""

from lottery_core.pruning.kinds import (
    CHAINS,
    CONTROLS,
    DENSE,
    FRESH,
    KINDS,
    REWIND,
    WINNING,
    check_kind,
    control_ticket,
    derive_seed,
)
from lottery_core.pruning.prune import check_rate, prune, prune_masks, schedule

__all__ = [
    "CHAINS",
    "CONTROLS",
    "DENSE",
    "FRESH",
    "KINDS",
    "REWIND",
    "WINNING",
    "check_kind",
    "check_rate",
    "control_ticket",
    "derive_seed",
    "prune",
    "prune_masks",
    "schedule",
]
