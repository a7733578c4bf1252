"""The fp32 master weights that fairseq's mixed-precision optimizers keep beside an fp16 or bf16 model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from lottery_core.tickets import Weights, snapshot


def masters_of(optimizer: Any) -> Iterator[tuple[nn.Parameter, Tensor]]:
    """Yield each parameter of the model with its fp32 master, a writable view of the same shape.

    Yields nothing for an optimizer without masters: fp32, ``--amp``, ``--memory-efficient-fp16``.

    :param optimizer: fairseq optimizer, as a task's ``train_step`` and ``optimizer_step`` receive it
    """
    masters = getattr(optimizer, "fp32_params", None)
    if masters is None:
        return
    parameters = [parameter for parameter in optimizer.fp16_params if parameter.requires_grad]
    if isinstance(masters, dict):  # one flat tensor per device, see fairseq/optim/fp16_optimizer.py:build_fp32_params
        for device, flat in masters.items():
            on_device = [p for p in parameters if len(masters) == 1 or p.device.index == device]
            yield from _slices(on_device, flat)
    elif isinstance(masters, Tensor):
        yield from _slices(parameters, masters)
    else:
        yield from ((parameter, master.data) for parameter, master in zip(parameters, masters, strict=True))


def _slices(parameters: list[nn.Parameter], flat: Tensor) -> Iterator[tuple[nn.Parameter, Tensor]]:
    start = 0
    for parameter in parameters:
        yield parameter, flat.data[start : start + parameter.numel()].view_as(parameter)
        start += parameter.numel()


def full_precision(model: nn.Module, optimizer: Any) -> Weights:
    """Take a snapshot of a model in fp32: the masters where the optimizer has them, the weights elsewhere.

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
        if tensor.dtype in (torch.float16, torch.bfloat16):
            tensors[name] = tensor.float()
    return Weights(tensors, weights.outside, weights.source)
