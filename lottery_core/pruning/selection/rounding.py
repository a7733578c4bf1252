"""Trained weights that were rounded to fp16 or bf16: thousands of them tie, and where they lie must not decide.

Among 60 million weights in bf16 some 65,000 have the magnitude at which pruning stops. In the order of the pool the
first tensors would lose all of theirs, in every round.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

_HALF = (torch.bfloat16, torch.float16)  # the coarser one first: most of its values are also of the other
_FEW = 4096  # weights; so few whole numbers, say, may all be fp16 by chance


def rounded_to(tensors: Iterable[Tensor]) -> torch.dtype | None:
    """The type that all tensors were rounded to, whatever they are stored in; ``None`` for full precision.

    :param tensors: the weights of a pool, each of any shape
    """
    left = set(_HALF)
    count = 0
    for tensor in tensors:
        values = tensor.detach().reshape(-1)
        for part in (values[:_FEW], values):  # a few tell full precision, without a copy of the whole
            left = {half for half in left if _is(part, half)}
            if not left:
                return None
        count += values.numel()
    return next((half for half in _HALF if half in left), None) if count >= _FEW else None


def _is(values: Tensor, half: torch.dtype) -> bool:
    return values.dtype is half or torch.equal(values.to(half).to(values.dtype), values)


def spread(positions: Tensor, count: int) -> Tensor:
    """Choose some of the positions in a pool, evenly and the same ones on every machine.

    :param positions: int64, one-dimensional
    :param count: how many to choose
    :returns: int64 of shape ``(count,)``
    """
    return positions[_mixed(positions).sort(stable=True).indices[:count]]


def _mixed(values: Tensor) -> Tensor:
    # The finaliser of splitmix64 (Steele et al. 2014); products wrap around, and shifts fill with zeros.
    values = values + -0x61C8864680B583EB
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
        values = (values ^ ((values >> shift) & ((1 << (64 - shift)) - 1))) * factor
    return values ^ ((values >> 31) & ((1 << 33) - 1))
