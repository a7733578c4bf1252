"""Adam's second moments of pruned weights, kept away from zero on the CPU.

torch's square root takes several times as long for zeros there, so that Adam's step on a ticket at 20% would take
twice as long as on the dense model. The value changes nothing: a pruned weight's gradient and first moment are zero,
and zero over anything is zero.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

_NAMES = ("exp_avg_sq", "max_exp_avg_sq")
_EVERY = 500  # updates: it decays with Adam's second beta, and very small numbers are slow too


class SecondMoments:
    """Lifts them where they were made anew, and every so often.

    :param held: the masked parameters, each with its mask
    """

    def __init__(self, held: Iterable[tuple[nn.Parameter, Tensor]]) -> None:
        self._held = list(held)
        self._lifted: Any = None

    @torch.no_grad()
    def lift(self, optimizer: Any, updates: int) -> None:
        """Called after each step.

        :param optimizer: fairseq's; one that keeps other moments, or flat ones, is left alone
        :param updates: since the start
        """
        state = getattr(optimizer.optimizer, "state", None)
        # Loading a checkpoint gives the optimizer another dictionary.
        if state is None or (state is self._lifted and updates % _EVERY):
            return
        self._lifted = state
        for parameter, mask in self._held:
            if parameter.device.type != "cpu" or parameter not in state:
                continue
            for name in _NAMES:
                moment = state[parameter].get(name)
                if isinstance(moment, Tensor) and moment.shape == mask.shape:
                    moment.masked_fill_(~mask, 1.0)
