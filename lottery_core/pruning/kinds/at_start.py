"""Pruned at the rewind point, without training (Frankle et al. 2021, arXiv 2009.08576)."""

from __future__ import annotations

import torch

from lottery_core.pruning.kinds.kind import REWIND, Control, Values
from lottery_core.pruning.prune import prune_masks
from lottery_core.tickets import Masks, Ticket


def make(winning: Ticket, start: Values, generator: torch.Generator) -> tuple[Masks, Values]:
    """Keep the largest weights of the rewind point, as many as the winning ticket has, and start from there."""
    pool = {name: start[name] for name in winning.masks}
    return prune_masks(pool, list(pool), winning.masks.surviving), start


KIND = Control("at-start", "Global magnitude at the rewind point: no training finds it.", make, REWIND)
