"""The criteria that rank parameters for pruning, one file per criterion."""

from lottery_core.pruning.criteria.criterion import GLOBAL, LAYER, Criterion
from lottery_core.pruning.criteria.registry import CRITERIA, MAGNITUDE, criterion_named, of_values_alone

__all__ = ["CRITERIA", "GLOBAL", "LAYER", "MAGNITUDE", "Criterion", "criterion_named", "of_values_alone"]
