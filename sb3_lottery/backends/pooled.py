"""Base class of the native vector environments (EnvPool, ALE), with the semantics of SB3's."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import gymnasium
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from sb3_lottery.backends.request import EnvRequest

Array = NDArray[Any]
_SEEDS = 2**31 - 1  # both libraries take signed 32-bit integers


@dataclass(frozen=True)
class Step:
    """One step of all environments; environments whose episode ended are already reset.

    :param observations: observations (n_envs, ...), an array that the library does not write to again
    :param rewards: rewards of the game (n_envs,), neither scaled nor clipped
    :param terminated: whether the game ended the episode (n_envs,)
    :param truncated: whether a limit ended the episode (n_envs,)
    :param final: index of an environment whose episode ended -> its last observation
    """

    observations: Array
    rewards: Array
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    final: Mapping[int, Array]


class PooledVecEnv(VecEnv):
    """Environments that are stepped together in native code.

    The semantics are those of ``DummyVecEnv`` over ``Monitor``: an environment whose episode ends is reset in the same
    step, with the last observation in ``infos[i]["terminal_observation"]`` and the unscaled, unclipped return and the
    length in steps of the agent in ``infos[i]["episode"]``. ``infos[i]["TimeLimit.truncated"]`` is set only if a time
    limit ended the episode. Environment i is seeded with ``seed + i`` and restarts at the reset after
    :meth:`seed`.

    :param request: the environments to make
    :param observation_space: observation space of one environment
    :param action_space: action space of one environment
    :param max_steps: maximum length of an episode in steps of the agent
    """

    def __init__(
        self,
        request: EnvRequest,
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
        max_steps: int | None,
    ) -> None:
        self.request = request
        self._attributes = {
            "render_mode": None,
            "spec": gymnasium.envs.registration.EnvSpec(request.env, max_episode_steps=max_steps),
        }
        super().__init__(request.n_envs, observation_space, action_space)
        self._started, self._since = False, time.time()
        self._actions: Array | None = None
        self._begin()

    @abstractmethod
    def _start(self, seeds: NDArray[np.int32]) -> Array:
        """Recreate the environments with these seeds and return their first observations."""

    @abstractmethod
    def _restart(self) -> Array:
        """Start another episode in every environment and return the first observations."""

    @abstractmethod
    def _advance(self, actions: Array) -> Step:
        """Step all environments."""

    def _begin(self) -> None:
        self._returns = np.zeros(self.num_envs)
        self._lengths = np.zeros(self.num_envs, dtype=np.int64)

    def reset(self) -> Array:
        """Start another episode in every environment; after :meth:`seed`, restart with the new seeds."""
        if any(self._options):
            raise ValueError(f"{type(self).__name__} has no reset options")
        if not self._started and self._seeds[0] is None:
            self.seed()
        seeds = [seed for seed in self._seeds if seed is not None]
        self._begin()
        self._reset_seeds()
        if not seeds:
            return self._restart()
        self._started = True
        return self._start(np.asarray([seed % _SEEDS for seed in seeds], dtype=np.int32))

    def step_async(self, actions: Array) -> None:
        """Store the actions for :meth:`step_wait`."""
        self._actions = np.asarray(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """Step all environments; those whose episode ends are reset in the same step."""
        assert self._actions is not None, "call step_async first"
        step = self._advance(self._actions)
        rewards = step.rewards.astype(np.float64)
        self._returns += rewards
        self._lengths += 1
        infos: list[dict[str, Any]] = [{"TimeLimit.truncated": False} for _ in range(self.num_envs)]
        dones = step.terminated | step.truncated
        for index in np.flatnonzero(dones).tolist():
            infos[index] = {
                "TimeLimit.truncated": bool(step.truncated[index] and not step.terminated[index]),
                "terminal_observation": step.final[index],
                "episode": self._episode(index),
            }
        return step.observations, self.request.for_training(rewards).astype(np.float32), dones, infos

    def _episode(self, index: int) -> dict[str, Any]:
        # In the format of stable_baselines3.common.monitor.Monitor.
        episode = {
            "r": round(float(self._returns[index]), 6),
            "l": int(self._lengths[index]),
            "t": round(time.time() - self._since, 6),
        }
        self._returns[index], self._lengths[index] = 0.0, 0
        return episode

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return ``render_mode`` or ``spec``, the only attributes.

        :raises AttributeError: another attribute is requested
        """
        if attr_name not in self._attributes:
            self._refuse(f"attribute '{attr_name}'")
        return [self._attributes[attr_name]] * len(self._indices(indices))

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Refuse: native environments have no attributes.

        :raises AttributeError: always
        """
        self._refuse(f"attribute '{attr_name}'")

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Refuse: native environments have no methods.

        :raises AttributeError: always
        """
        self._refuse(f"method '{method_name}'")

    def env_is_wrapped(self, wrapper_class: type[Any], indices: VecEnvIndices = None) -> list[bool]:
        """Return ``True`` for ``Monitor``, since ``infos`` have its ``episode`` entries."""
        return [wrapper_class is Monitor] * len(self._indices(indices))

    def _indices(self, indices: VecEnvIndices) -> Sequence[int]:
        return list(self._get_indices(indices))

    def _refuse(self, what: str) -> NoReturn:
        raise AttributeError(
            f"{type(self).__name__} steps its environments in native code: they have no {what} "
            "(the backend 'gymnasium' has one Python object per environment)"
        )
