"""The environments of an experiment: check that they can be made, and make them."""

from __future__ import annotations

import importlib
import warnings
from contextlib import suppress
from dataclasses import replace
from typing import Any

import gymnasium
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from lottery_core.errors import ConfigError, unknown_choice
from lottery_core.files import first_line
from sb3_lottery.backends import ENVPOOL, GYMNASIUM, SUCCESSORS, atari_game, atari_hint, installed, make_environments
from sb3_lottery.models.algorithms import check_actions
from sb3_lottery.models.settings import ModelSettings

_ALE = "ale_py"  # the module that registers Atari games


def make_env(settings: ModelSettings, seed: int) -> VecEnv:
    """Make the vector environment: episode returns are those of the game, the model sees scaled and clipped rewards.

    :param settings: what the environments are made from
    :param seed: environment i is seeded with ``seed + i``
    :raises ConfigError: a package is missing, or the backend does not have the environment
    """
    env = make_environments(settings.env_backend, settings.env_request, seed)
    if settings.normalize is None:
        return env
    gamma = settings.hyperparams.get("gamma")  # SB3's VecNormalize scales rewards by the discounted return
    return VecNormalize(env, **{**({} if gamma is None else {"gamma": gamma}), **settings.normalize})


def make_rendered_env(settings: ModelSettings, seed: int, render_mode: str) -> VecEnv:
    """Make a single environment that can be rendered, without normalisation.

    Only gymnasium renders; the observations are the same with every backend.

    :param settings: what the training environments are made from
    :param seed: seed of the environment
    :param render_mode: gymnasium's ``"human"`` or ``"rgb_array"``
    :raises ConfigError: a package of the environment is missing
    """
    env = SUCCESSORS.get(settings.env, settings.env)
    request = replace(settings.env_request, env=env, n_envs=1, subproc=False, render_mode=render_mode)
    return make_environments(GYMNASIUM, request, seed)


def environment_line(settings: ModelSettings) -> str:
    """Return a line for users: number and id of the environments, and the backend."""
    threads = settings.env_request.threads
    more = ", one process each" if settings.subproc else f", {threads} threads" if threads > 1 else ""
    backend = f"{settings.env_backend}{more}"
    return f"{settings.n_envs} x {settings.env} by {backend}"


def check_environment(settings: ModelSettings) -> gymnasium.Space[Any]:
    """Check that the environment can be made and suits the algorithm.

    :param settings: what the environments are made from
    :returns: the action space
    :raises ConfigError: the environment is unknown (the message suggests similar names), a package is missing, or the
        algorithm does not accept the actions
    """
    env_id = settings.env
    if atari_game(env_id) is None:
        _check_atari_id(env_id)
        if settings.env_backend == GYMNASIUM:
            _check_registered(env_id)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            env = make_env(replace(settings, n_envs=1, subproc=False), 0)
    except ConfigError:
        raise
    except Exception as error:  # a user's environment may raise anything
        reason = first_line(error)
        raise ConfigError(f"cannot make environment '{env_id}': {reason}") from error
    try:
        check_actions(settings.algorithm, env, env_id)
        return env.action_space
    finally:
        env.close()


def _check_atari_id(env_id: str) -> None:
    # Pong-v4 and the like lack the wrappers that agents need; they are registered as soon as ale-py is imported.
    module, _, name = env_id.rpartition(":")
    if module:
        with suppress(Exception):  # gymnasium imports it again, and says what is wrong
            importlib.import_module(module)
    spec = gymnasium.registry.get(name)
    of_ale = spec is not None and str(spec.entry_point).startswith(_ALE)
    if module and of_ale:
        raise ConfigError(
            f"'{env_id}' would be trained on raw frames: leave '{module}:' out, and choose {atari_hint(name) or name}"
        )
    if module or (spec is not None and not of_ale):
        return
    hint = atari_hint(env_id)
    if hint:
        raise ConfigError(f"unknown environment '{env_id}': did you mean {hint}?")


def _check_registered(env_id: str) -> None:
    if ":" in env_id or env_id in gymnasium.registry:
        return
    similar = [name for name in gymnasium.registry if name.rpartition("-v")[0] == env_id.rpartition("-v")[0]]
    if similar:
        hint = ""
        if not installed(ENVPOOL):
            hint = " (EnvPool may have it: pip install envpool, --env-backend envpool)"
        raise ConfigError(f"unknown environment '{env_id}': did you mean {' or '.join(sorted(similar))}?{hint}")
    raise unknown_choice(env_id, "environment", list(gymnasium.registry))
