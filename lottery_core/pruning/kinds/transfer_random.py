"""The control for masks of another experiment: the same number of survivors in each tensor, in other places."""

from __future__ import annotations

from lottery_core.pruning.kinds.kind import Transfer

KIND = Transfer(
    "transfer-random",
    "The mask of transfer, shuffled within each tensor, with the values of this experiment's rewind point.",
    shuffled=True,
)
