"""Magnitude pruning at the rewind point, with no training before (Frankle et al. 2021, arXiv 2009.08576, section 3)."""

from __future__ import annotations

import torch

from lottery_core.pruning.criteria import of_values_alone
from lottery_core.pruning.kinds.kind import REWIND, Control, Values
from lottery_core.pruning.selection import prune_masks
from lottery_core.pruning.units import layout_of_ticket
from lottery_core.tickets import SEPARATE, Masks, Ticket, network_of_each


def make(winning: Ticket, start: Values, generator: torch.Generator) -> tuple[Masks, Values]:
    """Keep as many parameters as the winning ticket does, those of the largest magnitude at the rewind point.

    They are of the whole pool or, if the winning ticket was pruned so, of each tensor.
    """
    networks = network_of_each(start) if winning.origin.scope_shares == SEPARATE else None
    layout = layout_of_ticket(winning)
    criterion = of_values_alone(winning.origin.criterion)
    names, survivors = list(winning.masks), winning.masks.surviving
    return prune_masks(start, names, survivors, criterion, networks=networks, layout=layout, spread_ties=True), start


KIND = Control(
    "at-start",
    "Pruned by magnitude at the rewind point, with no training before.",
    make,
    REWIND,
    alone=True,
    ranks=True,
)
