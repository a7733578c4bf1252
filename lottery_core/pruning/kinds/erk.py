"""A random mask whose layers have the Erdos-Renyi-Kernel densities (Evci et al. 2020, arXiv 1911.11134)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from lottery_core.pruning.kinds.kind import FRESH, Control, Values, random_masks, with_full_slices
from lottery_core.tickets import Masks, Ticket


def erk_counts(shapes: Mapping[str, Sequence[int]], survivors: int) -> dict[str, int]:
    """Return how many entries of each tensor survive, exactly ``survivors`` in all.

    A tensor of shape (n1, n2, ...) has a density proportional to (n1 + n2 + ...) / (n1 * n2 * ...); what a density of
    1 cannot take is shared out among the others. Tensors of one dimension (biases, scales of norms) stay dense, as in
    the paper, unless they would take more than half of the survivors; then the formula holds for them, too.

    :param shapes: tensor name -> shape
    :param survivors: how many survive, at most the number of all entries
    """
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    vectors = {name for name, shape in shapes.items() if len(shape) < 2}
    whole = vectors if 2 * sum(sizes[name] for name in vectors) <= survivors else set()
    weight = {name: sum(shape) if shape else 1 for name, shape in shapes.items()}  # density times size
    full = set(whole)
    while True:
        left = survivors - sum(sizes[name] for name in full)
        open_ = [name for name in sizes if name not in full]
        total = sum(weight[name] for name in open_)
        over = {name for name in open_ if left * weight[name] > sizes[name] * total}
        if not over:
            break
        full |= over
    counts = {name: sizes[name] if name in full else left * weight[name] // total for name in sizes}
    rest = sorted(open_, key=lambda name: -(left * weight[name] % total))
    for name in rest[: survivors - sum(counts.values())]:
        counts[name] += 1
    return counts


def make(winning: Ticket, start: Values, generator: torch.Generator) -> tuple[Masks, Values]:
    """Draw as many survivors as the winning ticket has, with the densities of the formula, and fresh values."""
    counts = erk_counts({name: mask.shape for name, mask in winning.masks.items()}, winning.masks.surviving)
    return random_masks(winning, with_full_slices(winning, counts), generator), start


KIND = Control(
    "erk",
    "A random mask with Erdos-Renyi-Kernel densities by layer, fresh values.",
    make,
    FRESH,
    alone=True,
    units=False,
)
