"""Gradual magnitude pruning during one training (Zhu & Gupta 2017, arXiv 1710.01878, section 3)."""

from __future__ import annotations

from lottery_core.pruning.kinds.kind import GRADUALLY, InTraining


def left(pool: int, survivors: int, done: float) -> int:
    """Return how many parameters are left under the cubic schedule: fast at first, when many are redundant.

    :param pool: number of parameters in the pool
    :param survivors: number that survive in the end
    :param done: share of the steps of pruning that are done, from 0 to 1
    """
    return pool - round((pool - survivors) * (1 - (1 - done) ** 3))


KIND = InTraining(
    GRADUALLY, "Pruned by magnitude during its one training, by the cubic schedule of --gradual.", False, left
)
