"""The winning mask with permuted values (Vischer et al., arXiv 2105.01648)."""

from __future__ import annotations

import torch

from lottery_core.pruning.kinds.kind import NOTHING, Control, Values
from lottery_core.tickets import Masks, Ticket


def make(winning: Ticket, start: Values, generator: torch.Generator) -> tuple[Masks, Values]:
    """Keep the mask and permute the survivors' start values within each tensor."""
    values = dict(winning.start())
    for name, mask in winning.masks.items():
        survivors = values[name][mask]
        values[name] = values[name].clone()
        values[name][mask] = survivors[torch.randperm(survivors.numel(), generator=generator, device="cpu")]
    return winning.masks, values


KIND = Control(
    "permuted", "The winning mask; the survivors' rewound values change places within each tensor.", make, NOTHING
)
