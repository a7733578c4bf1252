"""The kinds of ticket, one file per kind: found by pruning in rounds, made from the winning ticket, or in training."""

from lottery_core.pruning.kinds.control_ticket import check_outside, control_ticket
from lottery_core.pruning.kinds.kind import (
    DENSE,
    FLOOR,
    FRESH,
    GRADUALLY,
    REWIND,
    WINNING,
    InTraining,
    Transfer,
    random_masks,
)
from lottery_core.pruning.kinds.registry import (
    BUDGET,
    CHAINS,
    CONTROLS,
    IN_TRAINING,
    KINDS,
    MEANINGS,
    TRANSFERS,
    UNPRUNED,
    any_rewinds,
    check_kind,
    needs_rewind_point,
    starts_rewound,
)

__all__ = [
    "BUDGET",
    "check_outside",
    "IN_TRAINING",
    "InTraining",
    "CHAINS",
    "CONTROLS",
    "DENSE",
    "FLOOR",
    "FRESH",
    "GRADUALLY",
    "KINDS",
    "MEANINGS",
    "TRANSFERS",
    "Transfer",
    "random_masks",
    "UNPRUNED",
    "REWIND",
    "WINNING",
    "any_rewinds",
    "check_kind",
    "needs_rewind_point",
    "control_ticket",
    "starts_rewound",
]
