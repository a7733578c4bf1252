"""A mask drawn uniformly over the whole pool, a control beyond the paper's."""

from __future__ import annotations

import torch

from lottery_core.pruning.kinds.kind import FRESH, Control, Values, random_masks, random_units, with_full_slices
from lottery_core.pruning.units import layout_of_ticket
from lottery_core.tickets import Masks, Ticket


def make(winning: Ticket, start: Values, generator: torch.Generator) -> tuple[Masks, Values]:
    """Draw the winning ticket's number of survivors over the whole pool and start from fresh values."""
    import numpy

    layout = layout_of_ticket(winning)
    if layout is not None:
        return random_units(layout, winning.masks.surviving, generator), start
    sizes = [mask.numel() for mask in winning.masks.values()]
    seed = int(torch.randint(2**31, (), generator=generator, device="cpu"))
    draw = numpy.random.default_rng(seed).multivariate_hypergeometric(
        sizes, winning.masks.surviving, method="marginals"
    )
    counts = dict(zip(winning.masks, draw.tolist(), strict=True))
    return random_masks(winning, with_full_slices(winning, counts), generator), start


KIND = Control(
    "uniform",
    "As many survivors as the winning ticket, drawn over the whole pool, fresh values.",
    make,
    FRESH,
    alone=True,
)
