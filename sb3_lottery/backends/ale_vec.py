"""The vector environment of ale-py (the Arcade Learning Environment): Atari games in C++, without OpenCV."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lottery_core.errors import ConfigError
from sb3_lottery.backends.atari import atari_game
from sb3_lottery.backends.pooled import Array, PooledVecEnv, Step
from sb3_lottery.backends.request import FRAME_SKIP, FRAME_STACK, MAX_FRAMES, EnvRequest, package_missing


def installed() -> bool:
    """Return whether ale-py and its vector environment can be imported."""
    try:
        import ale_py.vector_env  # noqa: F401
    except ImportError:
        return False
    return True


class AleVecEnv(PooledVecEnv):
    """Atari games stepped by ale-py.

    :param request: the environments to make
    :raises ConfigError: ale-py is not installed or does not have the game
    """

    def __init__(self, request: EnvRequest) -> None:
        game = atari_game(request.env)
        if game is None:
            raise ConfigError(f"--env-backend ale has Atari games only; {request.env} is not one")
        rom = game.rom
        try:
            from ale_py.vector_env import AtariVectorEnv
        except ImportError as error:
            raise package_missing("--env-backend ale", "ale-py >= 0.11", "-U ale-py", "atari") from error
        from gymnasium.vector import AutoresetMode

        height, width = request.frames
        self._ale: Any = AtariVectorEnv(
            rom,
            request.n_envs,
            num_threads=min(request.threads, request.n_envs),
            max_num_frames_per_episode=MAX_FRAMES,
            repeat_action_probability=game.sticky,
            autoreset_mode=AutoresetMode.SAME_STEP,
            img_height=height,
            img_width=width,
            stack_num=FRAME_STACK,
            frameskip=FRAME_SKIP,
            noop_max=request.noop_max,
            reward_clipping=False,
        )
        spaces = (self._ale.single_observation_space, self._ale.single_action_space)
        super().__init__(request, *spaces, MAX_FRAMES // FRAME_SKIP)

    def _start(self, seeds: NDArray[np.int32]) -> Array:
        return np.asarray(self._ale.reset(seed=seeds)[0])

    def _restart(self) -> Array:
        return np.asarray(self._ale.reset()[0])

    def _advance(self, actions: Array) -> Step:
        observations, rewards, terminated, truncated, info = self._ale.step(actions.astype(np.int64))
        ended = np.flatnonzero(terminated | truncated).tolist()
        final = {index: info["final_obs"][index].copy() for index in ended}
        return Step(observations, rewards, terminated, truncated, final)

    def close(self) -> None:
        """Stop the threads."""
        self._ale = None
