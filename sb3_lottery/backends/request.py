"""The environments that a backend is asked for, in plain values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lottery_core.errors import ConfigError

FRAME_SIZE = (84, 84)  # of Mnih et al. 2015, SB3's default
FRAME_STACK = 4
FRAME_SKIP = 4
NOOP_MAX = 30  # a game starts after fewer than this many actions without effect
MAX_FRAMES = 108_000  # 30 minutes of play, the ALE's own limit


@dataclass(frozen=True)
class EnvRequest:
    """Environments to make.

    :param env: id of the environment
    :param n_envs: number of environments
    :param reward_scale: factor on the rewards in training; episode returns are not scaled
    :param clip_reward: whether to clip rewards to [-1, 1] in training, before scaling; episode returns are not clipped
    :param frame_size: height and width of Atari frames in pixels; ``None`` is :data:`FRAME_SIZE`
    :param subproc: whether to run one process per environment (gymnasium only)
    :param threads: number of threads that step the environments (EnvPool and ALE)
    :param noop_max: see :data:`NOOP_MAX`; with 1 every Atari game starts alike
    :param render_mode: gymnasium's ``"human"`` or ``"rgb_array"``; ``None`` shows nothing (gymnasium only)
    """

    env: str
    n_envs: int = 1
    reward_scale: float = 1.0
    clip_reward: bool = False
    frame_size: tuple[int, int] | None = None
    subproc: bool = False
    threads: int = 1
    noop_max: int = NOOP_MAX
    render_mode: str | None = None

    @property
    def frames(self) -> tuple[int, int]:
        """Height and width of Atari frames in pixels."""
        return self.frame_size or FRAME_SIZE

    def for_training(self, rewards: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the rewards that the model sees: clipped, then scaled.

        :param rewards: rewards of the game, any shape
        """
        clipped = np.clip(rewards, -1.0, 1.0) if self.clip_reward else rewards
        return clipped * self.reward_scale


def package_missing(backend: str, module: str, package: str, extra: str) -> ConfigError:
    """Return the error for a package that is not installed.

    :param backend: what needs the package, in words
    :param module: name of the missing package, with its version if that matters
    :param package: argument of ``pip install``
    :param extra: extra of this project that includes the package
    """
    return ConfigError(
        f"{backend} needs {module}, which is not installed: pip install {package} (or this project's extra '{extra}')"
    )
