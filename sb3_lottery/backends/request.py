"""What is asked of a backend, in plain values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lottery_core.errors import ConfigError

FRAME_SIZE = (84, 84)  # of Mnih et al. 2015, SB3's default
FRAME_STACK = 4
FRAME_SKIP = 4
NOOP_MAX = 30  # actions without effect at the start of a game: one fewer at most
MAX_FRAMES = 108_000  # 30 minutes of play, the ALE's own limit


@dataclass(frozen=True)
class Request:
    """Environments to make.

    :param env: id of the environment
    :param n_envs: how many side by side
    :param reward_scale: rewards are multiplied by it for training; episode returns are not
    :param clip_reward: rewards are first clipped to [-1, 1] for training; episode returns are not
    :param frame_size: height and width of Atari frames in pixels; :data:`FRAME_SIZE` when ``None``
    :param subproc: one process an environment (gymnasium only)
    :param threads: that step the environments (EnvPool and ALE)
    :param noop_max: see :data:`NOOP_MAX`; 1 starts every Atari game alike
    :param render_mode: of gymnasium: ``"human"``, ``"rgb_array"``; ``None`` shows nothing (gymnasium only)
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
        """Height and width of Atari frames."""
        return self.frame_size or FRAME_SIZE

    def for_training(self, rewards: NDArray[np.float64]) -> NDArray[np.float64]:
        """Rewards as the model sees them: clipped, then scaled."""
        seen = np.clip(rewards, -1.0, 1.0) if self.clip_reward else rewards
        return seen * self.reward_scale


def package_missing(backend: str, module: str, package: str, extra: str) -> ConfigError:
    """The error for a package that is not installed.

    :param backend: that needs it, as people say it
    :param module: what was imported
    :param package: what pip installs
    :param extra: of this project, which has it too
    """
    return ConfigError(
        f"{backend} needs {module}, which is not installed: pip install {package} (or this project's extra '{extra}')"
    )
