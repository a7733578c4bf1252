"""Zeros in trained weights that suggest a forgotten mask."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from lottery_core.pruning.selection import RANKED
from lottery_core.tickets import Weights

_FEW = 0.001  # share of zeros that training may leave by itself


def forgotten_masks(trained: Weights, rewind: Weights) -> Iterator[str]:
    """Yield warnings about weights that seem to be pruned already; without their ticket they are pruned again.

    Rows and tensors that are all zero at the rewind point (biases, the row of a padding word) do not count.

    :param trained: trained weights, which are pruned without a previous ticket
    :param rewind: weights at the rewind point
    """
    fresh = both = counted = 0
    for name, value in trained.tensors.items():
        early = rewind.tensors.get(name)
        if name in trained.outside or early is None or early.shape != value.shape:
            continue
        if value.dtype not in RANKED or early.dtype not in RANKED:
            continue
        counted += value.numel()
        if int(value.count_nonzero()) == value.numel():
            continue
        dead = value == 0
        fresh += int((dead & (early != 0)).sum())
        if value.dim() > 1:
            rows = (early == 0).flatten(1)
            scattered = rows & ~rows.all(dim=1, keepdim=True)
            both += int(torch.logical_and(dead.flatten(1), scattered).sum())
    advice = "give it with --previous TICKET (previous=); otherwise its pruned weights count as pruned in this round"
    if fresh:
        yield (
            f"WARNING: {fresh:,} weights of {trained.source} are exactly 0, and not in {rewind.source}: if they "
            f"come from training a ticket, {advice}"
        )
    if both > _FEW * counted:
        yield (
            f"WARNING: {both:,} weights are exactly 0 in {trained.source} and in {rewind.source} as well: if both are "
            f"from one training run of a ticket, {advice}; and its survivors must be rewound to the weights that the "
            "ticket's own dense training had"
        )
