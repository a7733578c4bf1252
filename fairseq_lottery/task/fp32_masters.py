"""The fp32 master weights that fairseq's mixed-precision optimizers keep beside an fp16 or bf16 model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lottery_core.tickets import Weights, snapshot

_HALF = (torch.float16, torch.bfloat16)


def blocks_of(optimizer: Any) -> Iterator[tuple[list[nn.Parameter], nn.Parameter]]:
    """Yield each fp32 master of an optimizer with the model parameters that it contains, in order.

    Yields nothing for an optimizer without masters: fp32, ``--amp``, ``--memory-efficient-fp16``.

    :param optimizer: fairseq optimizer, as a task's ``train_step`` and ``optimizer_step`` receive it
    """
    masters = getattr(optimizer, "fp32_params", None)
    if masters is None:
        return
    parameters = [parameter for parameter in optimizer.fp16_params if parameter.requires_grad]
    if isinstance(masters, dict):  # one flat tensor per device, see fairseq/optim/fp16_optimizer.py:build_fp32_params
        for device, flat in masters.items():
            yield [p for p in parameters if len(masters) == 1 or p.device.index == device], flat
    elif isinstance(masters, Tensor):
        yield parameters, masters  # type: ignore[misc]
    else:
        yield from (([parameter], master) for parameter, master in zip(parameters, masters, strict=True))


def masters_of(optimizer: Any) -> Iterator[tuple[nn.Parameter, Tensor]]:
    """Yield each parameter of the model with its fp32 master, a writable view of the same shape.

    :param optimizer: see :func:`blocks_of`
    """
    for parameters, master in blocks_of(optimizer):
        if [parameter.shape for parameter in parameters] == [master.shape]:
            yield parameters[0], master.data
            continue
        start = 0
        for parameter in parameters:
            yield parameter, master.data[start : start + parameter.numel()].view_as(parameter)
            start += parameter.numel()


def in_half_precision(model: nn.Module) -> bool:
    """Return whether a model has been cast to fp16 or bf16."""
    return any(parameter.dtype in _HALF for parameter in model.parameters())


class FullValues:
    """The full-precision values given to a half-precision model, kept until the fp32 masters have taken them.

    fairseq first casts the model to fp16 or bf16 and then makes the masters from the rounded values
    (``fairseq/optim/fp16_optimizer.py:build_fp32_params``), at the start and again after a resume.

    :param model: the bare model; values that are loaded into it later are kept as well
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._values: dict[str, Tensor] = {}
        self._optimizer: Any = None

        # A plain function: fairseq deep-copies the model for its moving average; a bound method would copy this object.
        def before_loading(module: nn.Module, state: Mapping[str, Any], *_: Any) -> None:
            if module is model:
                self.keep(state)

        model.register_load_state_dict_pre_hook(before_loading)  # type: ignore[no-untyped-call]

    def keep(self, values: Mapping[str, Any]) -> None:
        """Keep values for the masters.

        :param values: tensors by name, from a ticket or a state dict; they are referenced, not copied
        """
        self._values |= {name: value for name, value in values.items() if isinstance(value, Tensor)}

    @torch.no_grad()
    def settle(self, optimizer: Any, erase: Callable[[str, Tensor], None] | None = None) -> None:
        """Write the values into the masters of a new optimizer; call it before every forward pass.

        A value is used only if it rounds to the model's current value; otherwise something else was loaded into the
        model.

        :param optimizer: fairseq optimizer of the model
        :param erase: called with a parameter's name and master; zeroes the pruned elements of the master
        """
        if optimizer is self._optimizer:
            return
        self._optimizer = optimizer
        masters = {id(parameter): master for parameter, master in masters_of(optimizer)}
        for name, parameter in self._model.named_parameters(remove_duplicate=False):
            master, value = masters.get(id(parameter)), self._values.get(name)
            if master is None or value is None or value.shape != parameter.shape:
                continue
            value = value.to(master)
            master.copy_(torch.where(value.to(parameter.dtype) == parameter, value, master))
            if erase is not None:
                erase(name, master)
        self._values = {}


def with_masters(state: Mapping[str, Any], model: nn.Module, optimizer: Any) -> Mapping[str, Any]:
    """Replace the rounded weights of a state dict by the fp32 masters, under every name.

    fairseq always writes checkpoints in fp32, so they do not grow, and loading them rounds to the same weights.

    :param state: state dict of the bare model
    :param model: the bare model
    :param optimizer: fairseq optimizer of the model
    :returns: a copy; the state dict itself for an optimizer without masters
    """
    masters = {id(parameter): master for parameter, master in masters_of(optimizer)}
    if not masters:
        return state
    result = dict(state)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if name in result and id(parameter) in masters:
            result[name] = masters[id(parameter)]
    return result


def full_precision(model: nn.Module, optimizer: Any) -> Weights:
    """Take a snapshot of a model in fp32, from the masters if the optimizer has them, else from the weights.

    :param model: the bare model, not its distributed wrapper
    :param optimizer: fairseq optimizer of the model, or ``None``
    """
    masters = {id(parameter): master for parameter, master in masters_of(optimizer)}
    weights = snapshot(model)
    tensors = dict(weights.tensors)
    for name, parameter in model.named_parameters():
        if id(parameter) in masters:
            tensors[name] = masters[id(parameter)].detach().cpu().clone()
    for name, tensor in tensors.items():
        if tensor.dtype in _HALF:
            tensors[name] = tensor.float()
    return replace(weights, tensors=tensors)
