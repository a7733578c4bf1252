"""Hooks for algorithms that write parameters, or take gradients, without going through the optimizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


class EraseBefore:
    """A forward pre-hook that erases a module's pruned parameters right before it computes with them.

    A copy or a pickle of the module gets a hook that does nothing: its parameters are not ours to write to.

    :param owned: the module's own parameters, each with what erases it in place
    """

    def __init__(self, owned: Sequence[tuple[Tensor, Callable[[Tensor], None]]] = ()) -> None:
        self._owned = owned

    @torch.no_grad()
    def __call__(self, module: nn.Module, inputs: Any) -> None:
        for parameter, eraser in self._owned:
            eraser(parameter.data)

    def __reduce__(self) -> tuple[type[EraseBefore], tuple[()]]:
        return EraseBefore, ()


def zero_every_gradient(parameter: Tensor, mask: Tensor) -> RemovableHandle:
    """Zero what ``torch.autograd.grad`` gives for pruned parameters, which hooks on ``.grad`` do not see.

    :param parameter: a leaf tensor
    :param mask: bool, of the parameter's shape, True survives
    """
    dead = ~mask.to(parameter.device)
    handle: RemovableHandle = parameter.register_hook(lambda gradient: gradient.masked_fill(dead, 0))  # type: ignore[no-untyped-call]
    return handle
