"""Read the weights of checkpoints from untrusted sources, safely."""

from lottery_core.checkpoints.read import (
    Facts,
    dialect_of,
    is_safetensors,
    load_checkpoint,
    read_weights,
    read_with_facts,
    state_of,
    unreadable,
    weights_of_state,
)
from lottery_core.checkpoints.safe_globals import allowed, safe_loading

__all__ = [
    "Facts",
    "allowed",
    "dialect_of",
    "is_safetensors",
    "load_checkpoint",
    "read_weights",
    "read_with_facts",
    "safe_loading",
    "state_of",
    "unreadable",
    "weights_of_state",
]
