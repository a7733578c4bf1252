"""A mask that another experiment found, with this experiment's own start (Morcos et al. 2019, arXiv 1906.02773)."""

from __future__ import annotations

from lottery_core.pruning.kinds.kind import Transfer

KIND = Transfer("transfer", "The winning mask of --tickets-from, with the values of this experiment's rewind point.")
