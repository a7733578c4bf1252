"""Native vector environments (EnvPool, ALE) as SB3 wants them: what all of them share."""

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

from sb3_lottery.backends.request import Request

Array = NDArray[Any]
_SEEDS = 2**31 - 1  # both take signed integers of 32 bits


@dataclass(frozen=True)
class Step:
    """One step of all environments; those that ended are reset already.

    :param observations: nobody else writes into it
    :param rewards: of the game, neither scaled nor clipped
    :param terminated: by the game
    :param truncated: by a limit
    :param final: the last observation of each that ended
    """

    observations: Array
    rewards: Array
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    final: Mapping[int, Array]


class PooledVecEnv(VecEnv):
    """Environments that are stepped together in native code.

    Same semantics as ``DummyVecEnv`` over ``Monitor``: an environment that ends is reset in the same step, its last
    observation is ``infos[i]["terminal_observation"]``, its return and length (as the agent steps, not scaled, not
    clipped) are ``infos[i]["episode"]``, and a limit of time alone sets ``infos[i]["TimeLimit.truncated"]``.
    Environment i is seeded with seed + i, and starts anew at the reset after :meth:`seed`.

    :param request: what to make
    :param observation_space: of one environment
    :param action_space: of one environment
    :param max_steps: limit of an episode, in steps of the agent
    """

    def __init__(
        self,
        request: Request,
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
        """Environments in the state of new ones with these seeds; their first observations."""

    @abstractmethod
    def _restart(self) -> Array:
        """All begin another episode; their first observations."""

    @abstractmethod
    def _advance(self, actions: Array) -> Step:
        """One step of all."""

    def _begin(self) -> None:
        self._returns = np.zeros(self.num_envs)
        self._lengths = np.zeros(self.num_envs, dtype=np.int64)

    def reset(self) -> Array:
        """Begin another episode everywhere; after :meth:`seed`, everything from the start."""
        if any(self._options):
            raise ValueError(f"{type(self).__name__} knows no options of reset")
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
        """Keep the actions for :meth:`step_wait`."""
        self._actions = np.asarray(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """Step all environments; those that ended are reset in the same step."""
        assert self._actions is not None, "step_async comes first"
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
        # As Monitor writes it.
        episode = {
            "r": round(float(self._returns[index]), 6),
            "l": int(self._lengths[index]),
            "t": round(time.time() - self._since, 6),
        }
        self._returns[index], self._lengths[index] = 0.0, 0
        return episode

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """``render_mode`` and ``spec`` only. :raises AttributeError: any other"""
        if attr_name not in self._attributes:
            self._no(f"attribute '{attr_name}'")
        return [self._attributes[attr_name]] * len(self._chosen(indices))

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """:raises AttributeError: always"""
        self._no(f"attribute '{attr_name}'")

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """:raises AttributeError: always"""
        self._no(f"method '{method_name}'")

    def env_is_wrapped(self, wrapper_class: type[Any], indices: VecEnvIndices = None) -> list[bool]:
        """``True`` for Monitor, whose ``episode`` entries are there."""
        return [wrapper_class is Monitor] * len(self._chosen(indices))

    def _chosen(self, indices: VecEnvIndices) -> Sequence[int]:
        return list(self._get_indices(indices))

    def _no(self, what: str) -> NoReturn:
        raise AttributeError(
            f"{type(self).__name__} steps its environments in native code: they have no {what} "
            "(the backend 'gymnasium' has one Python object an environment)"
        )
