"""The environments of an experiment: whether they can be made, and making them."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import gymnasium
from gymnasium.wrappers import TransformReward
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv

from lottery_core.errors import ConfigError, one_of

if TYPE_CHECKING:
    from sb3_lottery.build import ModelSettings


def check_environment(env: str, algo: str) -> gymnasium.Space[Any]:
    """The action space of the environment ``env``.

    :raises ConfigError: unknown environment (names the near ones), one that lacks a package, or a continuous
        action space for DQN
    """
    if env.partition(":")[0] == env and env not in gymnasium.registry:
        similar = [name for name in gymnasium.registry if name.rpartition("-v")[0] == env.rpartition("-v")[0]]
        if similar:
            raise ConfigError(f"unknown environment '{env}': did you mean {' or '.join(sorted(similar))}?")
        raise one_of(env, "environment", list(gymnasium.registry))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = gymnasium.make(env)
    except (gymnasium.error.Error, ImportError) as error:
        raise ConfigError(f"cannot make environment '{env}': {str(error).splitlines()[0]}") from error
    space = made.action_space
    made.close()
    if algo == "dqn" and not isinstance(space, gymnasium.spaces.Discrete):
        raise ConfigError(f"DQN needs a discrete action space; {env} has {space}")
    return space


def make_env(settings: ModelSettings, seed: int) -> VecEnv:
    """The vector environment of ``settings``: Monitor sees the true rewards, the model the scaled ones."""
    scale = settings.reward_scale
    wrapper = None if scale == 1 else (lambda env: TransformReward(env, lambda reward: float(reward) * scale))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is out of date", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message=".*out of date.*")
        return make_vec_env(settings.env, settings.n_envs, seed=seed, wrapper_class=wrapper)
