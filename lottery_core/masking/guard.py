"""Hooks on modules, for parameters and gradients that do not pass through an optimizer's step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

Owned = Mapping[str, str]  # attribute of the module -> name of the parameter


class ModuleHook:
    """A hook on a module that owns masked parameters.

    A copy or a pickle of the module gets a hook that does nothing: its parameters are not masked, and the pickle loads
    where this project is not installed.

    :param act: called with the module and with its masked parameters by attribute
    :param owned: attribute of the module -> name of the parameter
    """

    def __init__(self, act: Callable[[nn.Module, Owned], None] | None = None, owned: Owned | None = None) -> None:
        self._act, self._owned = act, owned or {}

    @torch.no_grad()
    def __call__(self, module: nn.Module, *_: Any) -> None:
        if self._act is not None:
            self._act(module, self._owned)

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (nullcontext(), "__exit__")  # takes any arguments and returns None


def owners(model: nn.Module, names: Mapping[int, str]) -> Iterator[tuple[nn.Module, dict[str, str]]]:
    """Yield the modules that own masked parameters, each with its attributes and the parameters' names.

    :param model: the model
    :param names: ``id`` of each masked parameter -> its name
    """
    for module in model.modules():
        owned = {
            attribute: names[id(parameter)]
            for attribute, parameter in module.named_parameters(recurse=False, remove_duplicate=False)
            if id(parameter) in names
        }
        if owned:
            yield module, owned


def callers(model: nn.Module, names: Mapping[int, str]) -> Iterator[tuple[nn.Module, nn.Module, dict[str, str]]]:
    """Yield the modules whose forward pass reads masked parameters, with what :func:`owners` yields.

    These are the owner and the modules around it, which may read a weight without calling its owner: the ``out_proj``
    of ``nn.MultiheadAttention``, an output layer tied to an embedding.

    :param model: the model
    :param names: ``id`` of each masked parameter -> its name
    """
    around: dict[nn.Module, list[nn.Module]] = {}
    for module in model.modules():
        for child in module.children():
            around.setdefault(child, []).append(module)
    for owner, owned in owners(model, names):
        for caller in (owner, *around.get(owner, ())):
            yield caller, owner, owned


def zero_every_gradient(parameter: Tensor, mask: Tensor) -> RemovableHandle:
    """Zero the gradients of pruned parameters that ``torch.autograd.grad`` returns, unseen by hooks on ``.grad``.

    :param parameter: a leaf tensor
    :param mask: bool, of the parameter's shape, True for surviving elements
    """
    dead = ~mask.to(parameter.device)

    def zero(gradient: Tensor) -> Tensor:
        nonlocal dead
        dead = dead.to(gradient.device)  # the model may have been moved
        return gradient.masked_fill(dead, 0)

    handle: RemovableHandle = parameter.register_hook(zero)  # type: ignore[no-untyped-call]
    return handle
