"""lottery_core.checkpoints."""

from lottery_core.checkpoints.read import (
    SB3,
    STATE,
    format_of,
    is_target,
    load_checkpoint,
    read_weights,
    state_of,
    unreadable,
    weights_of_state,
)
from lottery_core.checkpoints.safe_globals import NAMES, NUMPY_DTYPES, allowed, safe_loading

__all__ = [
    "NAMES",
    "NUMPY_DTYPES",
    "SB3",
    "STATE",
    "allowed",
    "safe_loading",
    "format_of",
    "is_target",
    "load_checkpoint",
    "read_weights",
    "state_of",
    "unreadable",
    "weights_of_state",
]
