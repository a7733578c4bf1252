"""Hold masks over a model that fairseq trains, and over every copy of it.

Only load hooks are added to the model, so its state dict keeps its keys.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fairseq_lottery.task.fp32_masters import blocks_of
from lottery_core.masking import Eraser, HeldMasks, preserves_zeros
from lottery_core.tickets import Masks

_HINT = ": something other than the task's optimizer wrote to them"


class TaskMasks(HeldMasks):
    """Keeps the pruned weights of a model at zero while fairseq casts, moves, wraps, copies and loads it.

    :param model: the bare model, whose parameters have the shapes of the masks
    :param masks: parameter name -> boolean mask, true for surviving weights
    """

    def __init__(self, model: nn.Module, masks: Masks) -> None:
        parameters = dict(model.named_parameters())
        self._names_of_all = {id(parameters[name]): name for name in masks}
        self._aliases_of_all = _aliases(model, self._names_of_all)
        self._preserves_zeros = False
        self._followed: Any = None
        self._due = False
        super().__init__(parameters, masks)
        self.enforce_once()
        _hook_loading(model, self)

    def change(self, masks: Masks) -> None:
        """Hold other masks from now on: the next :meth:`after_step` zeroes weights, masters and optimizer state.

        :param masks: masks of the same pool
        """
        super().change(masks)
        pruned = set(self._references)
        self._names = {key: name for key, name in self._names_of_all.items() if name in pruned}
        self._aliases = {alias: name for alias, name in self._aliases_of_all.items() if name in pruned}
        self._moments = self.second_moments()
        self._known_state: Any = None
        self._flat: dict[int, Eraser] = {}

    def after_backward(self, optimizer: Any) -> None:
        """Note that gradients were accumulated; they are zeroed once per update, just before the optimizer reads them.

        With ``--update-freq 16`` gradients are accumulated sixteen times per update.

        :param optimizer: fairseq's optimizer
        """
        self._due = True
        if optimizer is not self._followed:
            self._followed = optimizer
            for name in ("all_reduce_grads", "clip_grad_norm"):
                setattr(optimizer, name, _after(self.zero_due_gradients, getattr(optimizer, name)))

    def zero_due_gradients(self) -> None:
        """Zero the gradients of pruned weights if any were accumulated since the last call."""
        if self._due:
            self._due = False
            self.zero_gradients()

    def after_step(self, optimizer: Any, updates: int) -> None:
        """Mask the fp32 masters, which the optimizer has updated, and the weights, which fairseq has copied from them.

        An optimizer that preserves zeros needs this only after its state was replaced: then the state of pruned weights
        (the momentum of a dense checkpoint) is zeroed as well.

        :param optimizer: fairseq's optimizer
        :param updates: number of updates since the start, including this one
        """
        state = getattr(optimizer.optimizer, "state", None)  # composite optimizers have no state of their own
        new = state is not self._known_state  # also after a checkpoint was loaded
        if new and state is not None:
            self._known_state = state
            self._preserves_zeros = preserves_zeros(optimizer.optimizer)
            self._flat = {}
            self.zero_state(state)
        if new or not self._preserves_zeros:
            self._erase_masters(optimizer, state if new and state is not None else {})
            self.enforce()
        if self._preserves_zeros:
            self._flat = {}  # frees as much memory as the model takes
        if state is not None:
            self._moments.lift(state, updates)

    def _erase_masters(self, optimizer: Any, state: Any) -> None:
        # Flat masters and their optimizer state need flat masks.
        for parameters, master in blocks_of(optimizer):
            names = [self._names.get(id(parameter)) for parameter in parameters]
            if not any(names):
                continue
            eraser = self._flat.get(id(master))
            if eraser is None:
                masks = [
                    torch.ones_like(parameter, dtype=torch.bool, device="cpu") if name is None else self.masks[name]
                    for parameter, name in zip(parameters, names, strict=True)
                ]
                mask = masks[0] if len(masks) == 1 else torch.cat([mask.reshape(-1) for mask in masks])
                eraser = self._flat[id(master)] = Eraser(mask.reshape(master.shape), master)
            for values in (master, *state.get(master, {}).values()):
                if isinstance(values, Tensor) and values.shape == master.shape:
                    eraser(values.data)

    def erase_if_masked(self, name: str, values: Tensor) -> None:
        """Zero the pruned elements of a parameter in place, given any of its names; does nothing if none is pruned."""
        if name in self._aliases:
            self.erase(self._aliases[name], values)

    def enforce_in(self, tensors: Mapping[str, Any]) -> None:
        """Zero the pruned parameters in place in a copy of the model, or in a state dict with its aliases."""
        for alias, name in self._aliases.items():
            value = tensors.get(alias)
            if isinstance(value, Tensor) and value.shape == self.masks[name].shape:
                self.erase(name, value.data)

    def check(self, hint: str = _HINT) -> None:
        """Check that every pruned weight is 0.0.

        :param hint: added to the message
        :raises PrunedWeightAlive: a pruned weight is not 0.0; the message names the first such tensor
        """
        super().check(hint)


def _after(first: Callable[[], None], method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def both(*args: Any, **kwargs: Any) -> Any:
        first()
        return method(*args, **kwargs)

    return both


def _aliases(model: nn.Module, names: Mapping[int, str]) -> dict[str, str]:
    # Maps every name that the state dict has for a masked parameter to its first name.
    return {
        alias: names[id(parameter)]
        for alias, parameter in model.named_parameters(remove_duplicate=False)
        if id(parameter) in names
    }


def _hook_loading(model: nn.Module, masks: TaskMasks) -> None:
    # Plain functions: fairseq deep-copies the model for its moving average, and bound methods would copy the masks.
    def before(module: nn.Module, state: Mapping[str, Any], *_: Any) -> None:
        # Only the moving average is masked here: its fp32 values stay in the dictionary that it loads from.
        if module is not model:
            masks.enforce_in(state)

    def after(module: nn.Module, _: Any) -> None:
        # The trainer makes new fp32 masters right after it has loaded a checkpoint.
        masks.enforce_in({name: parameter.data for name, parameter in module.named_parameters()})

    model.register_load_state_dict_pre_hook(before)  # type: ignore[no-untyped-call]
    model.register_load_state_dict_post_hook(after)  # type: ignore[no-untyped-call]
