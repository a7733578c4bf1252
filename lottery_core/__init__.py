"""Lottery tickets: masks, pruning, controls, files, rounds, reports. Needs torch; knows neither fairseq nor SB3.

The way of the data: :func:`snapshot` -> :func:`prune` -> :class:`Ticket` -> :func:`apply_ticket` -> train -> again.
"""

from lottery_core.checkpoints import read_weights
from lottery_core.errors import LotteryError
from lottery_core.keeping import MaskKeeper, apply_ticket
from lottery_core.kinds import CHAINS, CONTROLS, KINDS, control_ticket
from lottery_core.masks import Masks
from lottery_core.pruning import prune, prune_masks, schedule
from lottery_core.scope import pool_names
from lottery_core.sparse import sparsify
from lottery_core.sparse_loading import load_sparse
from lottery_core.ticket import Origin, Ticket
from lottery_core.version import VERSION as __version__
from lottery_core.weights import Weights, snapshot

__all__ = [
    "CHAINS",
    "CONTROLS",
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
