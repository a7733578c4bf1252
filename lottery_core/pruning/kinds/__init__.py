"""The kinds of ticket, one file per kind: chains found by pruning, and controls made from the winning ticket."""

from lottery_core.pruning.kinds.control_ticket import control_ticket
from lottery_core.pruning.kinds.kind import DENSE, FRESH, REWIND, WINNING
from lottery_core.pruning.kinds.registry import (
    CHAINS,
    CONTROLS,
    KINDS,
    MEANINGS,
    any_rewinds,
    check_kind,
    starts_rewound,
)

__all__ = [
    "CHAINS",
    "CONTROLS",
    "DENSE",
    "FRESH",
    "KINDS",
    "MEANINGS",
    "REWIND",
    "WINNING",
    "any_rewinds",
    "check_kind",
    "control_ticket",
    "starts_rewound",
]
