"""A criterion: how parameters are scored for pruning, and how the survivors are divided among tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

GLOBAL, LAYER = "global", "layer"


@dataclass(frozen=True)
class Criterion:
    """A ranking of parameters: those with the smallest scores are pruned.

    :param name: the criterion's name in options and files
    :param meaning: a one-line description for users
    :param scores: (trained values, values at the rewind point) -> scores, all of one shape; NaN and infinity are errors
    :param share: ``"global"``: all tensors compete in one pool; ``"layer"``: each tensor keeps the same share
    :param uses_rewind: whether the scores depend on the values at the rewind point
    :param elementwise: whether a score depends only on the parameter's own values, so that large tensors are ranked in
        pieces, without a copy; otherwise ``scores`` gets whole tensors, and all scores are held in memory
    """

    name: str
    meaning: str
    scores: Callable[[Tensor, Tensor], Tensor]
    share: str = GLOBAL
    uses_rewind: bool = False
    elementwise: bool = False
