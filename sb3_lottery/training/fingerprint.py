"""Describe the configuration of a model in JSON values, so that two configurations can be told apart."""

from __future__ import annotations

import enum
import functools
import inspect
from collections.abc import Mapping
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecNormalize

from sb3_lottery.backends import env_spec
from sb3_lottery.models import weights_of

# Not part of the configuration: these differ between seeds, change in training, or only affect output.
_SKIP = {"seed", "verbose", "num_timesteps", "tensorboard_log", "start_time", "n_envs", "env", "policy", "logger"}


def describe_model(model: BaseAlgorithm) -> dict[str, Any]:
    """Describe the classes, spaces, environment, hyperparameters (schedules at three points) and shapes of ``model``.

    :param model: model with its environment
    :returns: JSON values that are the same in every process; values that JSON cannot express, e.g. the body of a
        function, are ignored
    """
    assert model.env is not None
    return {
        "algorithm": type(model).__name__,
        "policy": type(model.policy).__name__,
        "environment": _environment(model.env),
        "observation_space": str(model.observation_space),
        "action_space": str(model.action_space),
        "parameters": {name: list(tensor.shape) for name, tensor in weights_of(model).tensors.items()},
        **{name: _plain(value) for name, value in sorted(vars(model).items()) if _counts(name, value)},
    }


def _counts(name: str, value: Any) -> bool:
    if name.startswith("_") or name in _SKIP or name.endswith(("_space", "_buffer")):
        return False
    return isinstance(value, (bool, int, float, str, tuple, Mapping, ActionNoise)) or callable(value)


def _environment(env: VecEnv) -> dict[str, Any]:
    wrappers, inner = [], env
    while isinstance(inner, VecEnvWrapper):
        wrappers.append(f"{type(inner).__name__}{_normalizer(inner)}")
        inner = inner.venv
    # Gymnasium writes an environment as <Wrapper<Wrapper<Env<id>>>>.
    wrappers += [str(single) for single in getattr(inner, "envs", [])[:1] if " at 0x" not in str(single)]
    spec = env_spec(env)
    return {
        "n_envs": env.num_envs,
        "id": getattr(spec, "id", None),
        "max_episode_steps": getattr(spec, "max_episode_steps", None),
        "kwargs": _plain(getattr(spec, "kwargs", {})),
        "wrappers": wrappers,
    }


def _normalizer(env: VecEnv) -> str:
    if not isinstance(env, VecNormalize):
        return ""
    names = ("norm_obs", "norm_reward", "clip_obs", "clip_reward", "gamma", "epsilon", "norm_obs_keys")
    return str([getattr(env, name) for name in names])


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in sorted(value.items(), key=lambda item: str(item[0]))}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if inspect.isclass(value):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, functools.partial):
        return [_plain(value.func), _plain(value.args), _plain(value.keywords)]
    if isinstance(value, ActionNoise):
        return repr(value)
    if isinstance(value, enum.Enum):
        return str(value.value)
    if callable(value):
        return _schedule(value)
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _schedule(value: Any) -> Any:
    # SB3 turns learning rates and clip ranges into functions of the remaining progress.
    try:
        return [float(value(progress)) for progress in (1.0, 0.5, 0.0)]
    except Exception:
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__qualname__)}"
