"""A mask drawn uniformly over the whole pool, a control beyond the paper's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from lottery_core.pruning.kinds.kind import FRESH, Control, Values, random_masks, random_units, with_full_slices
from lottery_core.pruning.units import layout_of_ticket
from lottery_core.tickets import Masks, Ticket

_LARGEST = 10**9  # numpy's exact draw takes smaller pools alone
_DRAWS = 1000  # at a time, of which one in sqrt(6.3 pool p (1 - p)) fits


def make(winning: Ticket, start: Values, generator: torch.Generator) -> tuple[Masks, Values]:
    """Draw the winning ticket's number of survivors over the whole pool and start from fresh values."""
    import numpy

    layout = layout_of_ticket(winning)
    if layout is not None:
        return random_units(layout, winning.masks.surviving, generator), start
    sizes = [mask.numel() for mask in winning.masks.values()]
    seed = int(torch.randint(2**31, (), generator=generator, device="cpu"))
    numbers, survivors = numpy.random.default_rng(seed), winning.masks.surviving
    if winning.masks.pool < _LARGEST:
        draw = numbers.multivariate_hypergeometric(sizes, survivors, method="marginals")
    else:
        draw = _by_rejection(sizes, survivors, numbers)
    counts = dict(zip(winning.masks, draw.tolist(), strict=True))
    return random_masks(winning, with_full_slices(winning, counts), generator), start


def _by_rejection(sizes: Sequence[int], survivors: int, numbers: Any) -> Any:
    # Binomial counts with the right sum have the distribution of draws without replacement.
    while True:
        draws = numbers.binomial(sizes, survivors / sum(sizes), size=(_DRAWS, len(sizes)))
        fits = (draws.sum(axis=1) == survivors).nonzero()[0]
        if len(fits):
            return draws[fits[0]]


KIND = Control(
    "uniform",
    "As many survivors as the winning ticket, drawn over the whole pool, fresh values.",
    make,
    FRESH,
    alone=True,
)
