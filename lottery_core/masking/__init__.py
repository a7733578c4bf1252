"""Hold masks over a network during training, so that pruned parameters stay exactly 0.0."""

from lottery_core.masking.eraser import Eraser
from lottery_core.masking.guard import ModuleHook
from lottery_core.masking.held import HeldMasks
from lottery_core.masking.keeper import MaskKeeper, apply_ticket, is_held
from lottery_core.masking.optimizers import check_optimizer, preserves_zeros
from lottery_core.masking.steps import follow_before_steps, with_inner

__all__ = [
    "Eraser",
    "HeldMasks",
    "MaskKeeper",
    "ModuleHook",
    "apply_ticket",
    "check_optimizer",
    "follow_before_steps",
    "is_held",
    "preserves_zeros",
    "with_inner",
]
