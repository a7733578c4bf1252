"""The gymnasium backend: one Python object per environment, in this process or in one process each."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
from gymnasium.wrappers import TransformReward
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv

from sb3_lottery.backends.atari import atari_game, make_atari, stack
from sb3_lottery.backends.request import EnvRequest

Env = gymnasium.Env[Any, Any]


def make_gymnasium(request: EnvRequest, seed: int) -> VecEnv:
    """Make a ``DummyVecEnv``, or a ``SubprocVecEnv`` for ``subproc``.

    ``Monitor`` sees the rewards of the game; the model sees them clipped and scaled.

    :param request: the environments to make
    :param seed: environment i is seeded with ``seed + i``
    :raises ConfigError: a package that the Atari game needs is not installed, or there is no such game
    """
    game = atari_game(request.env)
    if game is not None:
        make_atari(game, request).close()  # a missing package is reported here, not in a subprocess
    env: str | Callable[[], Env] = request.env if game is None else partial(make_atari, game, request)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is out of date", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message=".*out of date.*")
        return make_vec_env(
            env,
            request.n_envs,
            seed=seed,
            env_kwargs={"render_mode": request.render_mode} if game is None and request.render_mode else None,
            wrapper_class=partial(_wrap, request, game is not None),
            vec_env_cls=SubprocVecEnv if request.subproc else DummyVecEnv,
        )


def _wrap(request: EnvRequest, frames: bool, env: Env) -> Env:
    if request.reward_scale != 1 or request.clip_reward:
        env = TransformReward(env, partial(_reward, request.clip_reward, request.reward_scale))
    return stack(env) if frames else env


def _reward(clip: bool, scale: float, reward: Any) -> float:
    # EnvRequest.for_training for a single number, for which numpy would take as long as a step of CartPole.
    value = float(reward)
    return (min(max(value, -1.0), 1.0) if clip else value) * scale
