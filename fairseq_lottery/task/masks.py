"""Hold masks over a model that fairseq trains, and over every copy of it.

Only load hooks are added to the model, so its state dict keeps its keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from fairseq_lottery.task.fp32_masters import masters_of
from lottery_core.masking import HeldMasks, preserves_zeros
from lottery_core.tickets import Masks

_HINT = ": something other than the task's optimizer wrote to them"


class TaskMasks(HeldMasks):
    """Keeps the pruned weights of a model at zero while fairseq casts, moves, wraps, copies and loads it.

    :param model: the bare model, whose parameters have the shapes of the masks
    :param masks: parameter name -> boolean mask, true for surviving weights
    """

    def __init__(self, model: nn.Module, masks: Masks) -> None:
        super().__init__(dict(model.named_parameters()), masks)
        self._names = {id(parameter): name for name, parameter in self.living()}
        self._aliases = _aliases(model, self._names)
        self._moments = self.second_moments()
        self._known_state: Any = None
        self._preserves_zeros = False
        self.enforce()
        _hook_loading(model, self)

    def after_step(self, optimizer: Any, updates: int) -> None:
        """Mask the fp32 masters, which the optimizer stepped, and the weights, which fairseq copied from them.

        Without masters, the step of an optimizer that preserves zeros needs a mask only where its state is new: then
        what the state holds of pruned weights (the momentum of a dense checkpoint) is zeroed as well.

        :param optimizer: fairseq's optimizer
        :param updates: number of updates since the start, including this one
        """
        state = getattr(optimizer.optimizer, "state", None)  # composite optimizers have none of their own
        masters = list(masters_of(optimizer))
        if state is not None and state is not self._known_state:  # a new optimizer, or a checkpoint was loaded into it
            self._known_state = state
            self._preserves_zeros = not masters and preserves_zeros(optimizer.optimizer)
            self.zero_state(state)
            self.enforce()
        for parameter, master in masters:
            name = self._names.get(id(parameter))
            if name is not None:
                self.erase(name, master)
        if not self._preserves_zeros:
            self.enforce()
        if state is not None:
            self._moments.lift(state, updates)

    def erase_if_masked(self, name: str, values: Tensor) -> None:
        """Zero in place what is pruned of a parameter, given by any of its names; nothing where it survives whole."""
        if name in self._aliases:
            self.erase(self._aliases[name], values)

    def enforce_in(self, tensors: Mapping[str, Any]) -> None:
        """Zero in place what is pruned in the parameters of a copy, or in a state dict with its aliases."""
        for alias, name in self._aliases.items():
            value = tensors.get(alias)
            if isinstance(value, Tensor) and value.shape == self.masks[name].shape:
                self.erase(name, value.data)

    def check(self, hint: str = _HINT) -> None:
        """Check that every pruned weight is 0.0.

        :param hint: added to the message
        :raises PrunedWeightAlive: one is not; names the first tensor
        """
        super().check(hint)


def _aliases(model: nn.Module, names: Mapping[int, str]) -> dict[str, str]:
    # Every name that the state dict has for a masked parameter -> its first name.
    return {
        alias: names[id(parameter)]
        for alias, parameter in model.named_parameters(remove_duplicate=False)
        if id(parameter) in names
    }


def _hook_loading(model: nn.Module, masks: TaskMasks) -> None:
    # Plain functions: fairseq deep-copies the model for its moving average, and a method would take the masks along.
    def before(module: nn.Module, state: Mapping[str, Any], *_: Any) -> None:
        # The moving average keeps its fp32 values in the very dictionary that it loads from; no other is written to.
        if module is not model:
            masks.enforce_in(state)

    def after(module: nn.Module, _: Any) -> None:
        # The trainer makes its fp32 masters anew right after it has loaded a checkpoint.
        masks.enforce_in({name: parameter.data for name, parameter in module.named_parameters()})

    model.register_load_state_dict_pre_hook(before)  # type: ignore[no-untyped-call]
    model.register_load_state_dict_post_hook(after)  # type: ignore[no-untyped-call]
