"""The backends by name: which one ``auto`` means, what each accepts, and the vector environment that it makes."""

from __future__ import annotations

from stable_baselines3.common.vec_env import VecEnv

from lottery_core.errors import ConfigError, unknown_choice
from sb3_lottery.backends import ale_vec, envpool_vec
from sb3_lottery.backends.atari import atari_game, check_frames
from sb3_lottery.backends.gymnasium_vec import make_gymnasium
from sb3_lottery.backends.request import EnvRequest

AUTO = "auto"
GYMNASIUM, ENVPOOL, ALE = "gymnasium", "envpool", "ale"
BACKENDS = {
    GYMNASIUM: "one Python object per environment",
    ENVPOOL: "C++: classic control, Box2D, Atari",
    ALE: "C++: Atari, comes with ale-py",
}
# Where A2C as a whole was measured to be faster with EnvPool than with gymnasium: 1.3 to 1.65 times for Acrobot, 2.1 to
# 2.8 times for LunarLander (32 environments, one thread). CartPole: 0.95 to 1.04.
_FASTER_WITH_ENVPOOL = {
    "Acrobot-v1",
    *(f"LunarLander{kind}-v{version}" for kind in ("", "Continuous") for version in (2, 3)),
}

_ENVS_OF_A_THREAD_ATARI, _ENVS_OF_A_THREAD = 2, 64


def installed(backend: str) -> bool:
    """Return whether the packages of a backend can be imported.

    :param backend: one of :data:`BACKENDS`
    """
    if backend == ENVPOOL:
        return envpool_vec.installed()
    return backend != ALE or ale_vec.installed()


def choose_backend(env: str, subproc: bool = False) -> str:
    """Return the backend that ``auto`` means: the installed one that was measured to be fastest for the environment.

    :param env: id of the environment
    :param subproc: whether ``--subproc`` was given, which only gymnasium has
    """
    if subproc:
        return GYMNASIUM
    if atari_game(env) is not None:
        # Equally fast: about 2,600 steps of 4 frames per second and thread. ALE needs no further package.
        return next(filter(installed, (ALE, ENVPOOL)), GYMNASIUM)
    return ENVPOOL if env in _FASTER_WITH_ENVPOOL and installed(ENVPOOL) else GYMNASIUM


def step_threads(backend: str, env: str, n_envs: int, cores: int) -> int:
    """Return how many threads step the environments where nobody says so; it changes the speed, not the bits.

    :param backend: one of :data:`BACKENDS`
    :param env: id of the environment
    :param n_envs: number of environments
    :param cores: cores of the machine or job that the run has
    """
    if backend == GYMNASIUM:
        return 1
    # Fewer than so many environments are stepped sooner than a thread is woken; only Atari's take long.
    least = _ENVS_OF_A_THREAD_ATARI if atari_game(env) is not None else _ENVS_OF_A_THREAD
    return max(1, min(cores, n_envs // least))


def check_backend(backend: str, request: EnvRequest) -> None:
    """Check that the backend can serve the request, without importing its packages.

    :param backend: one of :data:`BACKENDS`
    :param request: the environments to make
    :raises ConfigError: the backend is unknown, a native backend should use subprocesses, or the frame size is invalid
    """
    if backend not in BACKENDS:
        raise unknown_choice(backend, "backend of environments", [AUTO, *BACKENDS])
    if request.subproc and backend != GYMNASIUM:
        raise ConfigError(f"--subproc is for the gymnasium backend; {backend} has threads of its own")
    check_frames(request)


def make_environments(backend: str, request: EnvRequest, seed: int) -> VecEnv:
    """Make the requested environments; environment i is seeded with ``seed + i``.

    :param backend: one of :data:`BACKENDS`
    :param request: the environments to make
    :param seed: seed of the first environment
    :raises ConfigError: a package is missing, or the backend does not have the environment
    """
    if backend == GYMNASIUM:
        return make_gymnasium(request, seed)
    env = ale_vec.AleVecEnv(request) if backend == ALE else envpool_vec.EnvPoolVecEnv(request)
    env.seed(seed)
    return env
