"""lottery_core.masking."""

from lottery_core.masking.keeper import Eraser, MaskKeeper, apply_ticket, check_optimizer, is_held
from lottery_core.masking.moments import SecondMoments
from lottery_core.masking.probing import preserves_zeros

__all__ = ["Eraser", "MaskKeeper", "SecondMoments", "apply_ticket", "check_optimizer", "is_held", "preserves_zeros"]
