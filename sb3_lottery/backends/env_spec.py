"""Gymnasium's description of an environment, also of one in another process."""

from __future__ import annotations

import pickle
from typing import Any

import cloudpickle
import gymnasium
from gymnasium.envs.registration import EnvSpec
from stable_baselines3.common.vec_env import SubprocVecEnv, VecEnv, VecEnvWrapper

_PACKED = "lottery_packed_spec"


class _Packs(type):
    # SubprocVecEnv's processes run nothing but methods of the environment and isinstance(env, wrapper_class).
    def __instancecheck__(cls, env: Any) -> bool:
        if not isinstance(env, gymnasium.Wrapper):
            return False
        try:
            packed = cloudpickle.dumps(env.spec)
        except Exception:  # the arguments in it are the user's own
            packed = cloudpickle.dumps(None)
        setattr(env, _PACKED, packed)
        return True


class _Packed(metaclass=_Packs):
    """Stands for a wrapper class in ``env_is_wrapped``: leaves the packed spec in the outermost wrapper."""


def env_spec(env: VecEnv) -> EnvSpec | None:
    """Return the ``spec`` of the first environment, ``None`` if it has none.

    A process of ``SubprocVecEnv`` that is asked for the spec itself dies if pickle refuses it, e.g. a lambda in the
    arguments of a wrapper. Therefore cloudpickle packs it there, which is also what took it there.

    :param env: the environments of a model, which are not changed
    """
    inner = env
    while isinstance(inner, VecEnvWrapper):
        inner = inner.venv
    try:
        if isinstance(inner, SubprocVecEnv) and inner.env_is_wrapped(_Packed, 0)[0]:  # type: ignore[arg-type]
            return pickle.loads(inner.get_attr(_PACKED, 0)[0])  # type: ignore[no-any-return]
        return env.get_attr("spec", 0)[0]  # type: ignore[no-any-return]
    except (AttributeError, RuntimeError, IndexError):
        return None
