"""Find out which optimizers keep pruned parameters at zero, by trying them, and avoid the cost of zeros."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterable, Mapping
from enum import Enum
from numbers import Number
from types import BuiltinFunctionType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.weak import TensorWeakRef

from lottery_core.errors import OptimizerError

_STEPS, _RATE = 4, 1e-2
# What may be handed to a trial as it is; functions are taken to have no state.
_PLAIN = (str, Number, Enum, type, torch.dtype, torch.device, FunctionType, BuiltinFunctionType)
_SECOND_MOMENTS = ("exp_avg_sq", "max_exp_avg_sq", "square_avg")
_LIFT_EVERY = 500  # steps: the value decays with the optimizer's beta, and very small numbers are slow too


def check_optimizer(optimizer: Optimizer) -> None:
    """Refuse optimizers whose step would divide zero by zero for pruned parameters.

    :raises OptimizerError: its ``eps`` is 0, in the type of its parameters: 1e-8 is 0 in float16
    """
    name = type(optimizer).__name__
    for group in getattr(optimizer, "param_groups", ()):
        eps = group.get("eps", 1)
        if not isinstance(eps, int | float):
            continue
        if eps == 0:
            raise OptimizerError(f"{name} with eps=0 turns pruned parameters into NaN (0 / 0): give it eps=1e-8")
        # Frozen parameters are never stepped, whatever their type.
        stepped = (parameter for parameter in group["params"] if parameter.requires_grad)
        for kind in {parameter.dtype for parameter in stepped if parameter.dtype.is_floating_point}:
            if float(torch.tensor(eps, device="cpu").to(kind)) == 0 and _gives_nan(optimizer, group, kind):
                raise OptimizerError(
                    f"{name} with eps={eps:g}, which is 0 in {str(kind).removeprefix('torch.')}, turns pruned "
                    "parameters into NaN (0 / 0): give it eps=1e-4"
                )


def _gives_nan(optimizer: Optimizer, group: Mapping[str, Any], kind: torch.dtype) -> bool:
    # Some optimizers step float16 in float32. Where one cannot be tried, the parameters are zeroed after each step.
    found = _dead_after_steps(optimizer, group, kind)
    return found is not None and any(bool(dead.isnan().any()) for dead in found)


def preserves_zeros(optimizer: Optimizer) -> bool:
    """Return whether parameters that are zero, with zero gradients, stay exactly +0.0 under ``optimizer``.

    Elementwise optimizers (SGD, Adam, RMSprop, ... with momentum and weight decay) do; those that mix the elements of a
    matrix (Muon, Shampoo) or add noise do not. A new optimizer of the same class and settings is stepped on a small
    matrix and a vector; ``optimizer`` itself is not touched, nor are the objects that it holds. Optimizers that cannot
    be tried, such as those that need another optimizer or a generator, are assumed unsafe.
    """
    groups = getattr(optimizer, "param_groups", ())
    for group in groups:
        found = _dead_after_steps(optimizer, group, torch.float32)
        if found is None or any(bool(dead.count_nonzero()) or bool(torch.signbit(dead).any()) for dead in found):
            return False
    return bool(groups)


def _dead_after_steps(optimizer: Optimizer, group: Mapping[str, Any], kind: torch.dtype) -> list[Tensor] | None:
    # Pruned parameters after some steps of a new optimizer like this one; None if it cannot be tried.
    accepted = inspect.signature(type(optimizer).__init__).parameters
    own = vars(optimizer)  # settings that a class keeps beside its groups
    settings = {name: own[name] for name in accepted if name in own}
    settings |= {name: value for name, value in group.items() if name in accepted}
    settings.pop("params", None)
    try:
        settings = {name: _copied(value) for name, value in settings.items()}
        # What a class reads from its groups alone (GaLore's rank) must be in those of the trial.
        whole = {name: copy.deepcopy(value) for name, value in group.items() if name not in ("params", "param_names")}
    except Exception:  # the objects may come from anywhere: assume that it is unsafe
        return None
    for name in ("lr", "initial_lr"):  # a warm-up begins at 0, where no optimizer changes anything
        if settings.get(name) is not None and not settings[name]:
            settings[name] = _RATE
    whole |= {name: settings[name] for name in ("lr", "initial_lr") if name in whole and name in settings}
    for more in (whole, {}):
        with torch.random.fork_rng(devices=()):  # what a trial draws must not be missing in the training
            found = _tried(type(optimizer), settings, more, kind)
        if found is not None:
            return found
    return None


def _copied(value: Any) -> Any:
    # A trial must not use objects that the user's training uses, such as another optimizer or a random generator.
    if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
        return value.detach().clone()
    if isinstance(value, list | tuple):
        parts = [_copied(part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if isinstance(value, Mapping):
        return {key: _copied(part) for key, part in value.items()}
    if value is None or isinstance(value, _PLAIN):
        return value
    raise TypeError(f"a trial cannot take over a {type(value).__name__}")


def _tried(
    kind: type[Optimizer], settings: Mapping[str, Any], group: Mapping[str, Any], dtype: torch.dtype
) -> list[Tensor] | None:
    generator = torch.Generator().manual_seed(0)
    masks = [torch.rand(shape, generator=generator, device="cpu") > 0.5 for shape in ((8, 6), (8,))]
    try:
        parameters = [nn.Parameter(_random(mask, generator).to(dtype)) for mask in masks]
        trial = kind([{**group, "params": parameters}] if group else parameters, **settings)
        for _ in range(_STEPS):
            for parameter, mask in zip(parameters, masks, strict=True):
                parameter.grad = _random(mask, generator).to(dtype)
            trial.step()
    except Exception:  # the class may come from anywhere: assume that it is unsafe
        return None
    return [parameter.detach()[~mask] for parameter, mask in zip(parameters, masks, strict=True)]


def _random(mask: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(mask.shape, generator=generator, device="cpu").masked_fill(~mask, 0)


class SecondMoments:
    """Keeps the second moments of pruned weights away from zero on the CPU.

    On the CPU, torch's square root takes several times as long for zeros: on a ticket at 20%, a step of Adam or RMSprop
    would take three times as long as on the dense model. The non-zero value changes nothing: a pruned weight's gradient
    and first moment are zero, and zero divided by it is zero.

    :param masked: masked parameters, each with its mask; the parameters are referenced weakly
    """

    def __init__(self, masked: Iterable[tuple[Tensor, Tensor]]) -> None:
        self._masked = [(TensorWeakRef(parameter), mask) for parameter, mask in masked]
        self._lifted: Any = None

    @torch.no_grad()
    def lift(self, state: Mapping[Any, Any] | None, steps: int) -> None:
        """Set the second moments to 1 if the optimizer's state is new, and every few hundred steps.

        Call this after each step.

        :param state: the optimizer's state; other kinds of moments, and flat ones, are left unchanged. ``None`` for an
            optimizer without a state of its own
        :param steps: number of steps since the start
        """
        # Loading a checkpoint gives the optimizer a new dictionary.
        if state is None or (state is self._lifted and steps % _LIFT_EVERY):
            return
        self._lifted = state
        for reference, mask in self._masked:
            parameter = reference()
            if parameter is None or parameter.device.type != "cpu" or parameter not in state:
                continue
            for name in _SECOND_MOMENTS:
                moment = state[parameter].get(name)
                if isinstance(moment, Tensor) and moment.shape == mask.shape:
                    moment.masked_fill_(~mask, 1.0)


def slowed_by_zeros(optimizer: Optimizer) -> bool:
    """Return whether :class:`SecondMoments` makes ``optimizer``, one of torch's own, faster without changing it."""
    if not type(optimizer).__module__.startswith("torch.optim."):
        return False  # e.g. an optimizer that averages over its moments
    return not all(group.get("fused") for group in optimizer.param_groups)
