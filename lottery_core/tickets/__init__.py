"""The ticket itself: masks, weights, which parameters are in the pool, and the ticket file."""

from lottery_core.tickets.describe import collapse_warning, describe, render
from lottery_core.tickets.encoding import pack_gaps, pack_planes, unpack_gaps, unpack_planes
from lottery_core.tickets.masks import Masks
from lottery_core.tickets.scope import ALL, as_scope, by_names, pool_names
from lottery_core.tickets.ticket import Origin, Ticket, versions
from lottery_core.tickets.weights import (
    Weights,
    outside_by_name,
    require_same_shapes,
    snapshot,
    tied_names,
    without_aliases,
    without_copies,
)

__all__ = [
    "ALL",
    "Masks",
    "Origin",
    "Ticket",
    "Weights",
    "as_scope",
    "by_names",
    "collapse_warning",
    "describe",
    "outside_by_name",
    "pack_gaps",
    "pack_planes",
    "pool_names",
    "render",
    "require_same_shapes",
    "snapshot",
    "tied_names",
    "unpack_gaps",
    "unpack_planes",
    "versions",
    "without_aliases",
    "without_copies",
]
