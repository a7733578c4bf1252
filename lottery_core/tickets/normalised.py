"""Reparametrised weights that are divided by the norm of a slice: a slice without survivors would give 0 / 0."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

# torch/nn/utils/parametrizations.py:weight_norm and torch/nn/utils/weight_norm.py: names of norms and of weights.
_WEIGHT_NORM = ((".original0", ".original1"), ("_g", "_v"))
# torch/nn/utils/parametrizations.py:spectral_norm and torch/nn/utils/spectral_norm.py: a vector, and the whole matrix.
_SPECTRAL_NORM = (re.compile(r"^(.*)\.\d+\._u$"), ".original"), (re.compile(r"^(.*)_u$"), "_orig")


def normalised_weights(shapes: Mapping[str, torch.Size]) -> dict[str, tuple[int, ...]]:
    """Find the weights that are divided by norms of their slices, by the names that torch gives them.

    :param shapes: shapes of all parameters and buffers, by name
    :returns: name of a weight -> the dimensions that index its slices; empty if the whole weight is one slice
    """
    result: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes.items():
        for norms, weight in _WEIGHT_NORM:
            partner = shapes.get(name.removesuffix(weight) + norms) if name.endswith(weight) else None
            # Gates and values of attention are also named w_g and w_v; a weight that torch has split has no third name.
            split = norms.startswith(".") or name.removesuffix(weight) not in shapes
            if partner is not None and split and _are_norms(partner, shape):
                result[name] = tuple(dim for dim, size in enumerate(partner) if size > 1)
        for vector, weight in _SPECTRAL_NORM:
            match = vector.match(name)
            if match is not None and match[1] + weight in shapes:
                result[match[1] + weight] = ()
    return result


def _are_norms(norms: torch.Size, shape: torch.Size) -> bool:
    if norms.numel() == 1:
        return True
    if len(norms) != len(shape) or sum(size > 1 for size in norms) > 1:
        return False
    return all(size in (1, full) for size, full in zip(norms, shape, strict=True))


def highest_of_each_slice(scores: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Return a mask with the highest score of each slice, the first of equal ones; none in slices of minus infinity.

    :param scores: scores of one weight; minus infinity for pruned elements
    :param dims: from :func:`normalised_weights`
    :returns: bool, of the shape of ``scores``
    """
    others = [dim for dim in range(scores.dim()) if dim not in dims]
    order = [*dims, *others]
    rows = scores.permute(order).reshape(_product(scores.shape, dims), -1)
    best = rows.argmax(dim=1, keepdim=True)
    mask = torch.zeros_like(rows, dtype=torch.bool).scatter_(1, best, rows.gather(1, best) > -torch.inf)
    shape = [scores.shape[dim] for dim in order]
    return mask.reshape(shape).permute([order.index(dim) for dim in range(scores.dim())]).contiguous()


def empty_slices(mask: Tensor, dims: tuple[int, ...]) -> int:
    """Return how many slices of a normalised weight have no survivor.

    :param mask: bool, True for survivors
    :param dims: from :func:`normalised_weights`
    """
    others = [dim for dim in range(mask.dim()) if dim not in dims]
    rows = mask.permute([*dims, *others]).reshape(_product(mask.shape, dims), -1)
    return int((~rows.any(dim=1)).sum())


def _product(shape: torch.Size, dims: tuple[int, ...]) -> int:
    result = 1
    for dim in dims:
        result *= shape[dim]
    return result
