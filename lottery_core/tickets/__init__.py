"""The ticket itself: masks, weights, which parameters are in the pool, and the ticket file."""

from lottery_core.tickets.describe import (
    asked_lines,
    collapse_warning,
    describe,
    network_lines,
    output_scale,
    render,
    ticket_notes,
    ticket_warnings,
)
from lottery_core.tickets.encoding import pack_gaps, pack_planes, unpack_gaps, unpack_planes, why_not_stored
from lottery_core.tickets.masks import Masks, is_layer
from lottery_core.tickets.names import EXTRA_STATE, is_own, matching, plain_file_names, plain_names, require_same_shapes
from lottery_core.tickets.networks import SHARED, network_of_each, networks_of
from lottery_core.tickets.normalised import empty_slices, highest_of_each_slice, normalised_weights
from lottery_core.tickets.origin import SEPARATE, TOGETHER, UNIT, WEIGHT, Origin, versions
from lottery_core.tickets.scope import ALL, as_scope, by_names, pool_names
from lottery_core.tickets.ticket import Ticket, read_masks, read_masks_and_names
from lottery_core.tickets.ticket_file import claimed_digest
from lottery_core.tickets.ties import equal_bits, live_parameters, tied_names, without_aliases, without_copies
from lottery_core.tickets.weights import (
    Weights,
    outside_by_name,
    snapshot,
    weights_of_file,
)

__all__ = [
    "ALL",
    "EXTRA_STATE",
    "Masks",
    "Origin",
    "SEPARATE",
    "SHARED",
    "TOGETHER",
    "Ticket",
    "UNIT",
    "WEIGHT",
    "Weights",
    "as_scope",
    "asked_lines",
    "by_names",
    "claimed_digest",
    "collapse_warning",
    "describe",
    "output_scale",
    "empty_slices",
    "equal_bits",
    "highest_of_each_slice",
    "is_layer",
    "is_own",
    "live_parameters",
    "matching",
    "network_lines",
    "network_of_each",
    "networks_of",
    "normalised_weights",
    "outside_by_name",
    "pack_gaps",
    "pack_planes",
    "plain_file_names",
    "plain_names",
    "pool_names",
    "read_masks",
    "read_masks_and_names",
    "render",
    "require_same_shapes",
    "snapshot",
    "ticket_notes",
    "ticket_warnings",
    "tied_names",
    "unpack_gaps",
    "unpack_planes",
    "versions",
    "weights_of_file",
    "why_not_stored",
    "without_aliases",
    "without_copies",
]
