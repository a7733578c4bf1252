"""Connection sensitivity (Lee et al. 2019, arXiv 1810.02340), in a few steps (de Jorge et al. 2020, arXiv 2006.09081).

The gradients are those of the training that runs anyway, which goes on while they are summed.
"""

from __future__ import annotations

import math

from lottery_core.pruning.kinds.kind import InTraining


def left(pool: int, survivors: int, done: float) -> int:
    """Return how many parameters are left under the exponential schedule: each step prunes the same share of the rest.

    :param pool: number of parameters in the pool
    :param survivors: number that survive in the end
    :param done: share of the steps of pruning that are done, from 0 to 1
    """
    return round(math.pow(pool, 1 - done) * math.pow(survivors, done))


KIND = InTraining(
    "snip",
    "Pruned by |gradient x weight| in the first updates after the rewind point.",
    True,
    left,
    by_gradient=True,
    steps=5,
    epoch_share=0.1,
)
