"""Schedules as strings, as in rl_zoo3: ``lin_2.5e-4`` falls linearly from 2.5e-4 to 0 over a run."""

from __future__ import annotations

import math
from typing import Any

from stable_baselines3.common.utils import LinearSchedule

from lottery_core.errors import ConfigError

_SCHEDULED = ("learning_rate", "clip_range", "clip_range_vf")
_PREFIX = "lin_"


def is_schedule(name: str, value: Any) -> bool:
    """Return whether ``value`` is a schedule written as a string.

    :param name: name of the hyperparameter
    :param value: value of the hyperparameter
    :raises ConfigError: the hyperparameter takes no schedule, or ``lin_`` is not followed by a positive number
    """
    if not isinstance(value, str) or not value.startswith(_PREFIX):
        return False
    if name not in _SCHEDULED:
        raise ConfigError(f"hyperparameter {name} takes no schedule; {', '.join(_SCHEDULED)} do")
    try:
        start = float(value[len(_PREFIX) :])
    except ValueError:
        start = 0.0
    if not math.isfinite(start) or start <= 0:
        raise ConfigError(f"hyperparameter {name}: a schedule is lin_X with a number X > 0, not '{value}'")
    return True


def schedule_of(name: str, value: Any) -> Any:
    """Return SB3's linear schedule for a schedule written as a string, and any other value unchanged.

    :param name: name of the hyperparameter
    :param value: value of the hyperparameter
    :raises ConfigError: see :func:`is_schedule`
    """
    if not is_schedule(name, value):
        return value
    return LinearSchedule(float(value[len(_PREFIX) :]), 0.0, 1.0)
