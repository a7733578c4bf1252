"""The kinds of ticket, one file per kind: chains found by pruning, and controls made from the winning ticket."""

from lottery_core.pruning.kinds.control_ticket import control_ticket
from lottery_core.pruning.kinds.kind import DENSE, FLOOR, FRESH, REWIND, WINNING
from lottery_core.pruning.kinds.registry import (
    CHAINS,
    CONTROLS,
    KINDS,
    MEANINGS,
    UNPRUNED,
    any_rewinds,
    check_kind,
    needs_rewind_point,
    starts_rewound,
)

__all__ = [
    "CHAINS",
    "CONTROLS",
    "DENSE",
    "FLOOR",
    "FRESH",
    "KINDS",
    "MEANINGS",
    "UNPRUNED",
    "REWIND",
    "WINNING",
    "any_rewinds",
    "check_kind",
    "needs_rewind_point",
    "control_ticket",
    "starts_rewound",
]
