"""Magnitude increase (Zhou et al., arXiv 1905.01067)."""

from __future__ import annotations

from torch import Tensor

from lottery_core.pruning.criteria.criterion import Criterion


def scores(trained: Tensor, rewind: Tensor) -> Tensor:
    """Return the growth of the magnitude since the rewind point; negative where it shrank."""
    return trained.abs() - rewind.abs()


CRITERION = Criterion(
    "magnitude-increase",
    "growth of the magnitude since the rewind point, over the whole pool",
    scores,
    uses_rewind=True,
    elementwise=True,
)
