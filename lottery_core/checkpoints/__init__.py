"""Reading the weights of other people's checkpoints, safely."""

from lottery_core.checkpoints.read import (
    dialect_of,
    load_checkpoint,
    read_weights,
    read_with_steps,
    state_of,
    unreadable,
    weights_of_state,
)
from lottery_core.checkpoints.safe_globals import allowed, safe_loading

__all__ = [
    "allowed",
    "dialect_of",
    "load_checkpoint",
    "read_weights",
    "read_with_steps",
    "safe_loading",
    "state_of",
    "unreadable",
    "weights_of_state",
]
