"""Second moments of pruned weights, kept away from zero on the CPU.

torch's square root takes several times as long for zeros there, so that the step of Adam or RMSprop on a ticket at 20%
would take three times as long as on the dense model. The value changes nothing: a pruned weight's gradient and first
moment are zero, and zero over anything is zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.weak import TensorWeakRef

_NAMES = ("exp_avg_sq", "max_exp_avg_sq", "square_avg")
_EVERY = 500  # steps: it decays with the optimizer's beta, and very small numbers are slow too


class SecondMoments:
    """Lifts them to 1 where they were made anew, and every so often.

    :param held: the masked parameters, each with its mask; the parameters are held weakly
    """

    def __init__(self, held: Iterable[tuple[Tensor, Tensor]]) -> None:
        self._held = [(TensorWeakRef(parameter), mask) for parameter, mask in held]
        self._lifted: Any = None

    @torch.no_grad()
    def lift(self, state: Mapping[Any, Any] | None, steps: int) -> None:
        """Called after each step.

        :param state: of the optimizer; one that keeps other moments, or flat ones, is left alone; ``None`` where it
            has none of its own (fairseq's composite optimizers)
        :param steps: since the start
        """
        # Loading a checkpoint gives the optimizer another dictionary.
        if state is None or (state is self._lifted and steps % _EVERY):
            return
        self._lifted = state
        for reference, mask in self._held:
            parameter = reference()
            if parameter is None or parameter.device.type != "cpu" or parameter not in state:
                continue
            for name in _NAMES:
                moment = state[parameter].get(name)
                if isinstance(moment, Tensor) and moment.shape == mask.shape:
                    moment.masked_fill_(~mask, 1.0)


def slowed_by_zeros(optimizer: Optimizer) -> bool:
    """Whether ``optimizer`` is one of torch's own that may be told another second moment, and gains by it."""
    if not type(optimizer).__module__.startswith("torch.optim."):
        return False  # a stranger's may take a mean over its moments
    return not all(group.get("fused") for group in optimizer.param_groups)
