"""What a criterion is: scores that rank parameters for pruning, and how the survivors are shared out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

GLOBAL, LAYER = "global", "layer"


@dataclass(frozen=True)
class Criterion:
    """How parameters are ranked: those with the smallest scores are pruned.

    :param name: the criterion's name, as options and files have it
    :param meaning: one line for people
    :param scores: trained values, values at the rewind point -> scores, all of one shape; not a number means an error
    :param share: ``"global"``: all tensors compete in one pool; ``"layer"``: each tensor keeps the same share
    :param uses_rewind: the scores depend on the values at the rewind point
    :param elementwise: a score depends on nothing but the parameter's own values, so that large tensors are ranked in
        pieces, without a copy; otherwise ``scores`` gets whole tensors, and all scores are held in memory
    """

    name: str
    meaning: str
    scores: Callable[[Tensor, Tensor], Tensor]
    share: str = GLOBAL
    uses_rewind: bool = False
    elementwise: bool = False
