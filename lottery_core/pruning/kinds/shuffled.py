"""A shuffled mask with the values of the rewind point (Vischer et al., arXiv 2105.01648)."""

from __future__ import annotations

import torch

from lottery_core.pruning.kinds.kind import REWIND, Control, Values, shuffled_masks
from lottery_core.tickets import Masks, Ticket


def make(winning: Ticket, start: Values, generator: torch.Generator) -> tuple[Masks, Values]:
    """Shuffle the mask within each tensor and start from the rewind point."""
    return shuffled_masks(winning, generator), start


KIND = Control("shuffled", "The mask shuffled within each tensor, with the values of the rewind point.", make, REWIND)
