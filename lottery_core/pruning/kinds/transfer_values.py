"""A winning ticket of another experiment, mask and start (Mehta 2019, arXiv 1905.07785)."""

from __future__ import annotations

from lottery_core.pruning.kinds.kind import Transfer

KIND = Transfer(
    "transfer-values", "The winning mask of --tickets-from, with the values of its rewind point.", values=True
)
