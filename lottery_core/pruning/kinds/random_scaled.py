"""The random ticket at the winning ticket's scale (Evci et al. 2020, arXiv 2010.03533)."""

from __future__ import annotations

import torch
from torch import Tensor

from lottery_core.pruning.kinds.kind import FRESH, Control, Values, shuffled_masks
from lottery_core.tickets import Masks, Ticket


def make(winning: Ticket, start: Values, generator: torch.Generator) -> tuple[Masks, Values]:
    """Shuffle the mask within each tensor; scale its fresh values to the root mean square of the winning survivors.

    A tensor whose fresh values are all zero (most biases) stays as it is.
    """
    masks = shuffled_masks(winning, generator)
    values, wanted = dict(start), winning.start()
    for name, mask in masks.items():
        fresh = _root_mean_square(values[name][mask])
        if fresh > 0:
            values[name] = values[name] * (_root_mean_square(wanted[name][winning.masks[name]]) / fresh)
    return masks, values


def _root_mean_square(values: Tensor) -> float:
    return float(values.double().square().mean().sqrt()) if values.numel() else 0.0


KIND = Control(
    "random-scaled",
    "The random ticket; the survivors of each tensor scaled to the winning ticket's root mean square.",
    make,
    FRESH,
)
