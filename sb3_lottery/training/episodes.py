"""Returns of training episodes: the score is the mean of the last L of them (arXiv 1906.02768, section 3.3)."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import (
    VecEnv,
    VecEnvWrapper,
    VecMonitor,
    VecNormalize,
    is_vecenv_wrapped,
    unwrap_vec_normalize,
)

from lottery_core.errors import ConfigError, RunError

NO_MONITOR = (
    "there is no Monitor around the environments: an episode's return is the sum of the rewards that the model gets, "
    "before VecNormalize; wrap the environments in Monitor (or VecMonitor) where wrappers change rewards or episodes"
)


class Episodes:
    """A counter of finished episodes that keeps the returns of the last L.

    SB3's own ``ep_info_buffer`` lags one step behind its callbacks and is shorter (``stats_window_size``).

    :param last: L, the number of returns to keep, at least 1
    :raises ConfigError: ``last`` is below 1
    """

    def __init__(self, last: int) -> None:
        if last < 1:
            raise ConfigError(f"the score needs at least 1 episode, not {last}")
        self.count = 0
        self.returns: deque[float] = deque(maxlen=last)
        self.summed = False  # whether returns are sums of rewards, not Monitor's
        self._sums: np.ndarray[Any, np.dtype[np.float64]] | None = None
        self._normalize: VecNormalize | None = None
        self._sees_normalised = False  # whether the returns that a monitor reports are of normalised rewards

    def watch(self, env: VecEnv) -> None:
        """Prepare for a training run: without ``Monitor``, or where it sees normalised rewards, they are summed here.

        :param env: environments of the run
        """
        self._normalize, self._sees_normalised = unwrap_vec_normalize(env), _monitored_outside(env)
        self._sums = None if is_monitored(env) and not self._sees_normalised else np.zeros(env.num_envs)

    def add(self, local: Mapping[str, Any]) -> int:
        """Add the episodes that finished in one step.

        Returns are those of ``Monitor``: undiscounted and not scaled. Without it they are sums of the rewards, unless
        the environments report returns as ``Monitor`` does.

        :param local: ``locals`` of a callback, with ``rewards``, ``dones``, and ``infos`` as ``Monitor`` writes them
        :returns: number of episodes that finished
        """
        before = self.count
        infos = [] if self._sees_normalised else local["infos"]
        reported = [info["episode"] for info in infos if info.get("episode") is not None]
        if reported and self._sums is not None:  # the environments report returns
            if self.summed:
                self.count, self.summed = 0, False
                self.returns.clear()
            self._sums = None
        for episode in reported:
            self._finish(float(episode["r"]))
        if self._sums is not None:
            self._sums += local["rewards"] if self._normalize is None else self._normalize.get_original_reward()
            for index in np.flatnonzero(local["dones"]).tolist():
                self.summed = not self._sees_normalised
                self._finish(float(self._sums[index]))
                self._sums[index] = 0
        return self.count - before

    def _finish(self, value: float) -> None:
        self.count += 1
        self.returns.append(value)

    @property
    def score(self) -> float:
        """Mean of the kept returns; NaN before the first episode has finished."""
        return statistics.fmean(self.returns) if self.returns else math.nan

    @property
    def standard_error(self) -> float:
        """Standard error of :attr:`score`; NaN for fewer than two returns."""
        return standard_error(self.returns)


def standard_error(returns: Sequence[float]) -> float:
    """Return the standard error of the mean; NaN for fewer than two returns.

    :param returns: finite returns of episodes
    """
    return statistics.stdev(returns) / math.sqrt(len(returns)) if len(returns) > 1 else math.nan


def check_returns(returns: Iterable[float]) -> None:
    """Check that the returns of episodes are numbers that have a mean.

    :param returns: returns of episodes
    :raises RunError: one is infinite or NaN
    """
    for value in returns:
        if not math.isfinite(value):
            raise RunError(f"the return of an episode is {value}: the environment's rewards must be finite numbers")


def _monitored_outside(env: VecEnv) -> bool:
    # Whether VecMonitor lies around VecNormalize, so that it sees the rewards that the model gets.
    outside = False
    while isinstance(env, VecEnvWrapper):
        if isinstance(env, VecNormalize):
            return outside and env.norm_reward
        outside = outside or isinstance(env, VecMonitor)
        env = env.venv
    return False


def is_monitored(env: VecEnv) -> bool:
    """Return whether ``Monitor`` or ``VecMonitor`` is around the environments.

    :param env: environments of a model
    """
    if is_vecenv_wrapped(env, VecMonitor):
        return True
    try:
        return all(env.env_is_wrapped(Monitor))
    except (AttributeError, NotImplementedError):  # a VecEnv of the user's own
        return False
