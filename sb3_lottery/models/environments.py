"""The environments of an experiment: by which backend, whether they can be made, and making them."""

from __future__ import annotations

import inspect
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import gymnasium
import torch
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from lottery_core.errors import ConfigError, unknown_choice
from sb3_lottery.backends import Request, atari_game, check_backend
from sb3_lottery.backends.ale_vec import AleVecEnv
from sb3_lottery.backends.atari import atari_hint
from sb3_lottery.backends.envpool_vec import EnvPoolVecEnv, installed
from sb3_lottery.backends.gymnasium_vec import make_gymnasium
from sb3_lottery.models.algorithms import check_actions

if TYPE_CHECKING:
    from sb3_lottery.models.build import ModelSettings


def request_of(settings: ModelSettings) -> Request:
    """What ``settings`` ask of a backend; native ones step with as many threads as torch has."""
    return Request(
        env=settings.env,
        n_envs=settings.n_envs,
        reward_scale=settings.reward_scale,
        clip_reward=settings.clip_reward,
        frame_size=settings.frame_size,
        subproc=settings.subproc,
        threads=torch.get_num_threads(),
    )


def check_words(settings: ModelSettings) -> None:
    """:raises ConfigError: see :func:`sb3_lottery.backends.check_backend`; unknown argument of ``VecNormalize``"""
    check_backend(settings.env_backend, request_of(settings))
    accepted = dict(inspect.signature(VecNormalize.__init__).parameters)
    for name in ("self", "venv"):
        del accepted[name]
    for name, value in (settings.normalize or {}).items():
        if name not in accepted:
            raise unknown_choice(name, "argument of VecNormalize", accepted)
        default = accepted[name].default
        if isinstance(default, bool) != isinstance(value, bool) or (
            isinstance(default, float) and not isinstance(value, (int, float))
        ):
            raise ConfigError(f"--normalize {name}:{value}: SB3's default is {default}")


def make_env(settings: ModelSettings, seed: int) -> VecEnv:
    """The vector environment of ``settings``, seeded: episode returns are true, the model sees the scaled rewards.

    :raises ConfigError: the backend or a package of the environment is missing, or the backend lacks it
    """
    request = request_of(settings)
    if settings.env_backend == "gymnasium":
        return normalized(make_gymnasium(request, seed), settings)
    made = AleVecEnv(request) if settings.env_backend == "ale" else EnvPoolVecEnv(request)
    made.seed(seed)
    return normalized(made, settings)


def normalized(env: VecEnv, settings: ModelSettings) -> VecEnv:
    """``env`` as ``settings.normalize`` wants it seen: by SB3's running means, with the algorithm's own discount."""
    if settings.normalize is None:
        return env
    gamma = settings.hyperparams.get("gamma")
    return VecNormalize(env, **{**({} if gamma is None else {"gamma": gamma}), **settings.normalize})


def environment_line(settings: ModelSettings) -> str:
    """For people: how many of what, by whom."""
    who = f"{settings.env_backend}{', one process each' if settings.subproc else ''}"
    return f"{settings.n_envs} x {settings.env} by {who}"


def check_environment(settings: ModelSettings) -> gymnasium.Space[Any]:
    """The action space of the environment of ``settings``.

    :raises ConfigError: unknown environment (names the near ones), one that lacks a package, or one whose actions
        the algorithm does not take
    """
    env = settings.env
    if atari_game(env) is None:
        _check_atari_id(env)
        if settings.env_backend == "gymnasium":
            _check_registered(env)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = make_env(replace(settings, n_envs=1, subproc=False), 0)
    except ConfigError:
        raise
    except Exception as error:  # whatever an environment of somebody's own does
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"cannot make environment '{env}': {reason}") from error
    try:
        check_actions(settings.algo, made, env)
        return made.action_space
    finally:
        made.close()


def _check_atari_id(env: str) -> None:
    # Pong-v4 and its like are games without the wrappers that agents need; ale-py registers them once it is imported.
    spec = gymnasium.registry.get(env)
    if ":" in env or (spec is not None and not str(spec.entry_point).startswith("ale_py")):
        return
    hint = atari_hint(env)
    if hint:
        raise ConfigError(f"unknown environment '{env}': did you mean {hint}?")


def _check_registered(env: str) -> None:
    if env.partition(":")[0] != env or env in gymnasium.registry:
        return
    similar = [name for name in gymnasium.registry if name.rpartition("-v")[0] == env.rpartition("-v")[0]]
    if similar:
        hint = ""
        if not installed():
            hint = " (EnvPool may have it: pip install envpool, --env-backend envpool)"
        raise ConfigError(f"unknown environment '{env}': did you mean {' or '.join(sorted(similar))}?{hint}")
    raise unknown_choice(env, "environment", list(gymnasium.registry))
