"""The winning mask and the signs of its values (Zhou et al. 2019, arXiv 1905.01067)."""

from __future__ import annotations

import torch

from lottery_core.pruning.kinds.kind import NOTHING, Control, Values
from lottery_core.tickets import Masks, Ticket


def make(winning: Ticket, start: Values, generator: torch.Generator) -> tuple[Masks, Values]:
    """Keep the mask; every survivor has its sign and the mean magnitude of its tensor's survivors."""
    values = dict(winning.start())
    for name, mask in winning.masks.items():
        survivors = values[name][mask]
        if survivors.numel():
            signs = values[name].sign()
            values[name] = (signs * survivors.abs().double().mean().to(signs.dtype)).to(signs.dtype)
    return winning.masks, values


KIND = Control(
    "signs", "The winning mask; the signs of the rewound values, with one magnitude per tensor.", make, NOTHING
)
