"""Backends that step the environments: gymnasium, EnvPool and ALE, each as the same SB3 vector environment."""

from sb3_lottery.backends.atari import atari_game, atari_hint
from sb3_lottery.backends.choose import (
    AUTO,
    BACKENDS,
    ENVPOOL,
    GYMNASIUM,
    check_backend,
    choose_backend,
    installed,
    make_environments,
    step_threads,
)
from sb3_lottery.backends.env_spec import env_spec
from sb3_lottery.backends.envpool_vec import SUCCESSORS
from sb3_lottery.backends.played import NamedFailures
from sb3_lottery.backends.request import FRAME_STACK, EnvRequest

__all__ = [
    "AUTO",
    "BACKENDS",
    "ENVPOOL",
    "EnvRequest",
    "FRAME_STACK",
    "GYMNASIUM",
    "NamedFailures",
    "SUCCESSORS",
    "atari_game",
    "atari_hint",
    "check_backend",
    "choose_backend",
    "env_spec",
    "installed",
    "make_environments",
    "step_threads",
]
