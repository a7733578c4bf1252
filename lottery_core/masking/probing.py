"""Whether an optimizer leaves pruned parameters alone by itself, found out by trying it on a few numbers."""

from __future__ import annotations

import inspect

import torch
from torch import nn
from torch.optim import Optimizer

_STEPS = 4


def preserves_zeros(optimizer: Optimizer) -> bool:
    """Whether parameters that are zero, with zero gradients, stay exactly +0.0 under ``optimizer``.

    Optimizers that work number by number (SGD, Adam, RMSprop, ... with momentum and weight decay) do; those that
    mix the numbers of a matrix (Muon, Shampoo) or add noise do not. A new optimizer of the same class and settings
    is stepped on a small matrix and a vector; nothing of ``optimizer`` is touched.

    :param optimizer: any; one that cannot be tried counts as one that does not
    """
    accepted = inspect.signature(type(optimizer).__init__).parameters
    generator = torch.Generator().manual_seed(0)
    masks = [torch.rand(8, 6, generator=generator) > 0.5, torch.rand(8, generator=generator) > 0.5]
    for group in optimizer.param_groups:
        parameters = [nn.Parameter(_random(mask, generator)) for mask in masks]
        settings = {name: value for name, value in group.items() if name in accepted and name != "params"}
        try:
            tried = type(optimizer)(parameters, **settings)
            for _ in range(_STEPS):
                for parameter, mask in zip(parameters, masks, strict=True):
                    parameter.grad = _random(mask, generator)
                tried.step()
        except Exception:  # whatever a stranger's class does: then its steps are followed by a mask
            return False
        for parameter, mask in zip(parameters, masks, strict=True):
            dead = parameter.detach()[~mask]
            if bool(dead.count_nonzero()) or bool(torch.signbit(dead).any()):
                return False
    return True


def _random(mask: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(mask.shape, generator=generator).masked_fill(~mask, 0)
