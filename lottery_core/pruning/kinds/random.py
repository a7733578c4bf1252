"""The paper's random ticket (arXiv 1906.02768, section 3.1, which does not say how its mask is drawn)."""

from __future__ import annotations

import torch

from lottery_core.pruning.kinds.kind import FRESH, Control, Values, shuffled_masks
from lottery_core.tickets import Masks, Ticket


def make(winning: Ticket, start: Values, generator: torch.Generator) -> tuple[Masks, Values]:
    """Shuffle the mask within each tensor and start from fresh values."""
    return shuffled_masks(winning, generator), start


KIND = Control("random", "The paper's random ticket: the mask shuffled within each tensor, fresh values.", make, FRESH)
