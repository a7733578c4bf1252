"""Backends of environments: who steps them. Each gives SB3 the same vector environment."""

from __future__ import annotations

from lottery_core.errors import ConfigError, unknown_choice
from sb3_lottery.backends import ale_vec, envpool_vec
from sb3_lottery.backends.atari import AtariGame, atari_game, check_frames
from sb3_lottery.backends.request import Request

__all__ = ["AUTO", "BACKENDS", "AtariGame", "Request", "atari_game", "check_backend", "choose_backend"]

AUTO = "auto"
BACKENDS = {
    "gymnasium": "one Python object an environment",
    "envpool": "C++: classic control, Box2D, Atari",
    "ale": "C++: Atari, comes with ale-py",
}
# Where A2C as a whole was measured faster with EnvPool than with gymnasium: 1.3 to 1.65 times for Acrobot, 2.1 to 2.8
# times for LunarLander (32 environments, one thread). CartPole: 0.95 to 1.04.
_FASTER_WITH_ENVPOOL = {
    "Acrobot-v1",
    *(f"LunarLander{kind}-v{version}" for kind in ("", "Continuous") for version in (2, 3)),
}


def choose_backend(env: str, subproc: bool = False) -> str:
    """The backend that ``auto`` means: the one measured fastest for the environment, if it is installed.

    :param env: id of the environment
    :param subproc: ``--subproc`` was given, which gymnasium alone has
    """
    if subproc:
        return "gymnasium"
    if atari_game(env) is not None:
        # Equally fast: about 2,600 steps of 4 frames a second and thread. ALE needs no further package.
        return "ale" if ale_vec.installed() else "envpool" if envpool_vec.installed() else "gymnasium"
    return "envpool" if env in _FASTER_WITH_ENVPOOL and envpool_vec.installed() else "gymnasium"


def check_backend(backend: str, request: Request) -> None:
    """Refuse what no backend or not this one can do, by words alone.

    :raises ConfigError: unknown backend, processes for a native one, a frame size for what has no frames
    """
    if backend not in BACKENDS:
        raise unknown_choice(backend, "backend of environments", [AUTO, *BACKENDS])
    if request.subproc and backend != "gymnasium":
        raise ConfigError(f"--subproc is for the gymnasium backend; {backend} has threads of its own")
    check_frames(request)
