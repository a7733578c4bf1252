"""The registry of criteria, one line per criterion."""

from __future__ import annotations

from lottery_core.errors import unknown_choice
from lottery_core.pruning.criteria import magnitude, magnitude_increase, magnitude_layer
from lottery_core.pruning.criteria.criterion import Criterion

_CRITERIA = (
    magnitude.CRITERION,
    magnitude_layer.CRITERION,
    magnitude_increase.CRITERION,
)

CRITERIA: dict[str, Criterion] = {criterion.name: criterion for criterion in _CRITERIA}
MAGNITUDE = magnitude.CRITERION


def of_values_alone(name: str) -> Criterion:
    """Return the criterion by which values are ranked that are not the end of a training from the rewind point.

    :param name: the criterion of the experiment
    :returns: that criterion, or global magnitude if it compares the trained values with those at the rewind point
    :raises ConfigError: there is no such criterion
    """
    criterion = criterion_named(name)
    return MAGNITUDE if criterion.uses_rewind else criterion


def criterion_named(name: str) -> Criterion:
    """Return the criterion with a name.

    :raises ConfigError: there is no such criterion; the message suggests similar names
    """
    if name not in CRITERIA:
        raise unknown_choice(name, "criterion", CRITERIA)
    return CRITERIA[name]
