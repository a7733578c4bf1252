"""The EnvPool backend: classic control, Box2D and Atari in C++ (Weng et al. 2022), in its synchronous mode."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from lottery_core.errors import ConfigError, unknown_choice
from sb3_lottery.backends.atari import atari_game
from sb3_lottery.backends.pooled import Array, PooledVecEnv, Step
from sb3_lottery.backends.request import FRAME_SKIP, FRAME_STACK, MAX_FRAMES, EnvRequest, package_missing

# Environments that gymnasium has removed -> their successors there, which have the same spaces.
SUCCESSORS = {"LunarLander-v2": "LunarLander-v3", "LunarLanderContinuous-v2": "LunarLanderContinuous-v3"}


def installed() -> bool:
    """Return whether EnvPool can be imported."""
    try:
        import envpool  # noqa: F401
    except ImportError:
        return False
    return True


def task(env: str) -> str:
    """Return EnvPool's id of an environment.

    :param env: id of the environment
    :raises ConfigError: EnvPool is not installed or does not have the environment
    """
    try:
        import envpool
    except ImportError as error:
        raise package_missing("--env-backend envpool", "EnvPool", "envpool", "envpool") from error
    game = atari_game(env)
    name = f"{game.name}-v5" if game else env
    known = envpool.list_all_envs()
    if name not in known:
        near = str(unknown_choice(name, "environment", known)).partition(": ")[2]
        raise ConfigError(f"EnvPool has no environment '{env}' ({near[:200]}); --env-backend gymnasium may have it")
    return name


class EnvPoolVecEnv(PooledVecEnv):
    """Environments stepped by EnvPool.

    Its stack of Atari frames starts with four copies of the first frame; other backends start with black frames.
    An episode that the game ends in the very step of its time limit counts as truncated, since EnvPool does not
    distinguish the two.

    :param request: the environments to make
    :raises ConfigError: EnvPool is not installed or does not have the environment, or an observation is not a single
        array
    """

    def __init__(self, request: EnvRequest) -> None:
        self._task, self._pool = task(request.env), None
        self._kwargs: dict[str, Any] = {"env_type": "gymnasium", "num_threads": min(request.threads, request.n_envs)}
        game, max_steps = atari_game(request.env), None
        if game:
            height, width = request.frames
            max_steps = MAX_FRAMES // FRAME_SKIP
            self._kwargs |= {
                "img_height": height,
                "img_width": width,
                "stack_num": FRAME_STACK,
                "frame_skip": FRAME_SKIP,
                "noop_max": request.noop_max,
                "max_episode_steps": max_steps,
                "repeat_action_probability": game.sticky,
                "reward_clip": False,
                "episodic_life": False,
            }
        probe = self._make(1, [0])
        observation, action = _spaces(request.env, probe)
        max_steps = probe.config["max_episode_steps"]
        probe.close()
        if not isinstance(observation, gymnasium.spaces.Box):
            raise ConfigError(
                f"observations of EnvPool's {request.env} are not a single array: use --env-backend gymnasium"
            )
        super().__init__(request, observation, action, max_steps)

    def _make(self, count: int, seeds: list[int]) -> Any:
        import envpool

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about bounds that EnvPool casts to 32 bits
            return envpool.make(self._task, num_envs=count, seed=seeds[0], env_seed=seeds, **self._kwargs)

    def _start(self, seeds: NDArray[np.int32]) -> Array:
        # EnvPool fixes the seeds when the pool is made.
        self.close()
        self._pool = self._make(self.num_envs, seeds.tolist())
        return self._restart()

    def _restart(self) -> Array:
        return np.asarray(self._pool.reset()[0])  # type: ignore[attr-defined]

    def _advance(self, actions: Array) -> Step:
        pool: Any = self._pool
        observations, rewards, terminated, truncated, _ = pool.step(actions)
        ended = np.flatnonzero(terminated | truncated)
        final = {}
        if len(ended):
            # EnvPool would reset in the next step; SB3 expects the reset in this step.
            final = {index: observations[index].copy() for index in ended.tolist()}
            observations[ended] = pool.reset(ended)[0]
        return Step(observations, rewards, terminated, truncated, final)

    def close(self) -> None:
        """Stop the threads."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None


def _spaces(env: str, pool: Any) -> tuple[Any, Any]:
    # Gymnasium's own spaces if it has the environment, so that a saved agent fits both; else EnvPool's.
    observation, action = pool.observation_space, pool.action_space
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            env_of_gymnasium = gymnasium.make(SUCCESSORS.get(env, env))
    except (gymnasium.error.Error, ImportError):
        return observation, action
    spaces = env_of_gymnasium.observation_space, env_of_gymnasium.action_space
    env_of_gymnasium.close()
    if spaces[0].shape == observation.shape and type(spaces[1]) is type(action):
        return spaces
    return observation, action
