"""Magnitude within each tensor (Han et al., arXiv 1506.02626)."""

from lottery_core.pruning.criteria.criterion import LAYER, Criterion
from lottery_core.pruning.criteria.magnitude import scores

CRITERION = Criterion(
    "magnitude-layer", "trained magnitude, the same share of each tensor", scores, share=LAYER, elementwise=True
)
