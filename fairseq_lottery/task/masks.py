"""Hold masks over a model that fairseq trains, and over every copy of it.

Only load hooks are added to the model, so its state dict keeps its keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fairseq_lottery.task.fp32_masters import masters_of
from lottery_core.errors import OptimizerError, PrunedWeightAlive
from lottery_core.masking import Eraser, SecondMoments, preserves_zeros
from lottery_core.tickets import Masks


class HeldMasks:
    """Keeps the pruned weights of a model at zero while fairseq casts, moves, wraps, copies and loads it.

    :param model: the bare model, whose parameters have the shapes of the masks
    :param masks: parameter name -> boolean mask, true for surviving weights
    """

    def __init__(self, model: nn.Module, masks: Masks) -> None:
        self.masks = masks
        parameters = dict(model.named_parameters())
        # A tensor without pruned weights costs nothing.
        self._held = [(name, parameters[name]) for name, mask in masks.items() if not bool(mask.all())]
        self._names = {id(parameter): name for name, parameter in self._held}
        self._aliases = _aliases(model, [name for name, _ in self._held])
        self._moments = SecondMoments((parameter, masks[name]) for name, parameter in self._held)
        self._known_state: Any = None
        self._preserves_zeros = False
        self._erasers: dict[tuple[str, torch.dtype, torch.device], Eraser] = {}
        self.enforce()
        _hook_loading(model, self)

    def _erase(self, name: str, values: Tensor) -> None:
        key = (name, values.dtype, values.device)
        eraser = self._erasers.get(key)
        if eraser is None:
            eraser = self._erasers[key] = Eraser(self.masks[name], values)
        eraser(values)

    def enforce(self) -> None:
        """Set every pruned weight of the model to exactly 0.0."""
        for name, parameter in self._held:
            self._erase(name, parameter.data)

    def zero_gradients(self) -> None:
        """Zero the gradients of pruned weights, before fairseq reduces, clips or copies them.

        :raises OptimizerError: a gradient is sparse
        """
        for name, parameter in self._held:
            gradient = parameter.grad
            if gradient is None:
                continue
            if gradient.is_sparse:
                raise OptimizerError(f"the gradient of '{name}' is sparse and cannot be masked; use dense gradients")
            self._erase(name, gradient.data)

    def after_step(self, optimizer: Any, updates: int) -> None:
        """Mask the fp32 masters, which the optimizer updated, and the weights, which it copied from them.

        Without masters, and with an optimizer that preserves zeros, this does something only when the optimizer's state
        is new: the weights are masked, and so is the state of pruned weights (the momenta of a dense checkpoint).

        :param optimizer: fairseq optimizer that has just stepped
        :param updates: optimizer updates since the start, this one included
        """
        state = getattr(optimizer.optimizer, "state", None)  # composite optimizers have none of their own
        masters = list(masters_of(optimizer))
        if state is not None and state is not self._known_state:
            # A new optimizer, or one that has just loaded a checkpoint.
            self._known_state = state
            self._preserves_zeros = not masters and preserves_zeros(optimizer.optimizer)
            self._zero_state(state)
            self.enforce()
        for parameter, master in masters:
            name = self._names.get(id(parameter))
            if name is not None:
                self._erase(name, master)
        if not self._preserves_zeros:
            self.enforce()
        if state is not None:
            self._moments.lift(state, updates)

    def _zero_state(self, state: Mapping[Any, Any]) -> None:
        for name, parameter in self._held:
            for value in state.get(parameter, {}).values():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    self._erase(name, value)

    def enforce_in(self, tensors: Mapping[str, Any]) -> None:
        """Zero pruned weights in other tensors, in place.

        :param tensors: parameters of a copy of the model, or a state dict, by name; aliases of tied tensors included
        """
        for alias, name in self._aliases.items():
            value = tensors.get(alias)
            if isinstance(value, Tensor) and value.shape == self.masks[name].shape:
                self._erase(name, value.data)

    def check(self) -> None:
        """Check that every pruned weight is exactly 0.0.

        :raises PrunedWeightAlive: one is not; the message names the first such tensor
        """
        for name, parameter in self._held:
            dead = ~self.masks[name].to(parameter.device)
            alive = int((parameter.detach() != 0).logical_and_(dead).sum())
            if alive:
                raise PrunedWeightAlive(
                    f"{alive} pruned weights of '{name}' are alive: something other than the task's "
                    "optimizer wrote to them"
                )


def _aliases(model: nn.Module, names: Iterable[str]) -> dict[str, str]:
    """Map every name that the state dict has for the given parameters to the first name of the same tensor."""
    first_names: dict[int, str] = {}
    wanted = set(names)
    result: dict[str, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        first = first_names.setdefault(id(parameter), name)
        if first in wanted:
            result[name] = first
    return result


def _hook_loading(model: nn.Module, held: HeldMasks) -> None:
    # Functions, not methods: fairseq deep-copies the model for its moving average, and a method would copy ``held``.
    def before(module: nn.Module, state: Mapping[str, Any], *_: Any) -> None:
        # The moving average keeps its fp32 values in the dictionary that it loads from; no other dictionary is changed.
        if module is not model:
            held.enforce_in(state)

    def after(module: nn.Module, _: Any) -> None:
        # The trainer rebuilds its masters right after it has loaded a checkpoint.
        held.enforce_in({name: parameter.data for name, parameter in module.named_parameters()})

    model.register_load_state_dict_pre_hook(before)  # type: ignore[no-untyped-call]
    model.register_load_state_dict_post_hook(after)  # type: ignore[no-untyped-call]
