"""Global magnitude, the paper's criterion (arXiv 1906.02768, section 3.1)."""

from __future__ import annotations

from torch import Tensor

from lottery_core.pruning.criteria.criterion import Criterion


def scores(trained: Tensor, rewind: Tensor) -> Tensor:
    """Return the magnitude of the trained values."""
    return trained.abs()


CRITERION = Criterion("magnitude", "trained magnitude over the whole pool, as in the paper", scores, elementwise=True)
