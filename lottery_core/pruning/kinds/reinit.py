"""The winning mask, freshly initialised (Frankle & Carbin, arXiv 1803.03635)."""

from __future__ import annotations

import torch

from lottery_core.pruning.kinds.kind import FRESH, Control, Values
from lottery_core.tickets import Masks, Ticket


def make(winning: Ticket, start: Values, generator: torch.Generator) -> tuple[Masks, Values]:
    """Keep the mask; use ``start``, the newly initialised values, as start values."""
    return winning.masks, start


KIND = Control("reinit", "The winning mask with fresh values.", make, FRESH)
