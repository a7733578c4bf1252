"""What weights must be before they are ranked, and before survivors start from them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from lottery_core.errors import PruneError
from lottery_core.files import printable
from lottery_core.tickets import Weights, normalised_weights

RANKED = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def check_types(weights: Mapping[str, Tensor], names: Iterable[str]) -> None:
    """Check that parameters have a type whose magnitudes have an order and whose zeros torch can count.

    :param weights: tensors by name
    :param names: those that are ranked
    :raises PruneError: a complex parameter, one of whole numbers, or of 8 bits and fewer; names it
    """
    for name in names:
        if weights[name].dtype not in RANKED:
            kind = "is complex" if weights[name].is_complex() else f"has the type {str(weights[name].dtype)[6:]}"
            raise PruneError(f"'{printable(name)}' {kind}: such parameters cannot be ranked; leave it out of the scope")


def check_start(trained: Weights, rewind: Weights, names: Iterable[str]) -> None:
    """Check what is ranked, and what survivors start from: numbers, as what is ranked must be.

    :param trained: trained weights
    :param rewind: weights at the rewind point
    :param names: the pool
    :raises PruneError: a type that cannot be ranked, NaN or infinite weights; names the tensor
    """
    names = list(names)
    check_types(trained.tensors, names)
    check_types(rewind.tensors, names)
    for name in names:
        values = rewind.tensors[name]
        if not bool(torch.isfinite(values).all()):
            bad = int((~torch.isfinite(values)).sum())
            raise PruneError(
                f"cannot rewind: {bad} weights of '{printable(name)}' in {rewind.source} are NaN or infinite"
            )


def check_slices(tensors: Mapping[str, Tensor], pool: Iterable[str], survivors: int) -> None:
    """Check that each slice of a normalised weight can keep a survivor, before anything is trained.

    :param tensors: all tensors by name, for their shapes
    :param pool: names of the tensors in the pool
    :param survivors: number of parameters to leave
    :raises PruneError: there are fewer survivors than slices
    """
    slices = normalised_weights({name: tensor.shape for name, tensor in tensors.items()})
    every = (math.prod(tensors[name].shape[dim] for dim in slices[name]) for name in pool if name in slices)
    count = sum(every)
    if survivors < count:
        raise too_few(survivors, count)


def too_few(survivors: int, slices: int) -> PruneError:
    """Return the error of fewer survivors than slices of normalised weights.

    :param survivors: number of parameters to leave
    :param slices: number of slices
    """
    return PruneError(
        f"cannot leave {survivors} parameters: normalised weights (weight_norm, spectral_norm) need {slices}, one "
        "in each slice"
    )
