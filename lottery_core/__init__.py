"""Lottery tickets: masks, pruning, controls, files, rounds, reports. Needs torch, and no framework.

The data's way: :func:`snapshot` -> :func:`prune` -> :class:`Ticket` -> :func:`apply_ticket` -> train -> again.
"""

from lottery_core.checkpoints import read_weights
from lottery_core.errors import LotteryError
from lottery_core.inference import load_sparse, sparsify
from lottery_core.masking import MaskKeeper, apply_ticket
from lottery_core.pruning import CHAINS, CONTROLS, CRITERIA, KINDS, control_ticket, prune, prune_masks, schedule
from lottery_core.tickets import Masks, Origin, Ticket, Weights, pool_names, snapshot
from lottery_core.version import VERSION as __version__

__all__ = [
    "CHAINS",
    "CONTROLS",
    "CRITERIA",
    "KINDS",
    "LotteryError",
    "MaskKeeper",
    "Masks",
    "Origin",
    "Ticket",
    "Weights",
    "__version__",
    "apply_ticket",
    "control_ticket",
    "load_sparse",
    "pool_names",
    "prune",
    "prune_masks",
    "read_weights",
    "schedule",
    "snapshot",
    "sparsify",
]
