"""A trained agent at play: on the screen, or as a video."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
from stable_baselines3.common.vec_env import VecEnv

from lottery_core.errors import ConfigError
from lottery_core.files import write_atomically
from lottery_core.kinds import derive_seed
from sb3_lottery.backends.gymnasium_vec import make_gymnasium
from sb3_lottery.environments import request_of
from sb3_lottery.runs import Finished

VIDEOS = (".mp4", ".gif")
_MOST_STEPS = 100_000  # of one episode, in a game that does not end


def play(finished: Finished, episodes: int, deterministic: bool, video: Path | None) -> list[float]:
    """Let the agent of a run play, one environment, from fresh seeds.

    :param finished: the run
    :param episodes: how many, at least 1
    :param deterministic: the best action instead of a sampled one
    :param video: a file that ends in .mp4 or .gif; ``None`` shows a window
    :returns: the return of each episode
    :raises ConfigError: no episode, another ending, no imageio, or an environment that cannot be rendered
    :raises WriteError: the video cannot be written
    """
    if episodes < 1:
        raise ConfigError(f"--episodes must be at least 1, not {episodes}")
    if video is not None and video.suffix not in VIDEOS:
        raise ConfigError(f"a video ends in {' or '.join(VIDEOS)}, not in '{video.suffix}'")
    writer = None if video is None else _imageio()
    mode = "human" if video is None else "rgb_array"
    try:
        # Only gymnasium shows its environments; the agent sees the same whoever steps them.
        request = replace(request_of(finished.settings), n_envs=1, subproc=False, render_mode=mode)
        env = finished.seen(make_gymnasium(request, derive_seed("play", finished.run.seed)))
    except Exception as error:  # whatever an environment does without a display
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"cannot render {finished.settings.env}: {reason}") from error
    try:
        frames: list[Any] = []
        returns = [_episode(finished, env, deterministic, frames if video else None) for _ in range(episodes)]
        rate = env.get_attr("metadata")[0].get("render_fps", 30)
    finally:
        env.close()
    if video is not None and writer is not None:
        shape = _even(frames[0].shape)
        film = [frame[: shape[0], : shape[1]] for frame in frames]
        how = {"fps": rate} if video.suffix == ".mp4" else {"duration": 1000 / rate, "loop": 0}
        write_atomically(video, lambda file: writer.mimwrite(file, film, format=video.suffix, **how))
    return returns


def _episode(finished: Finished, env: VecEnv, deterministic: bool, frames: list[Any] | None) -> float:
    model = finished.model()
    observation = env.reset()
    state, start = None, numpy.ones(1, dtype=bool)
    for _ in range(_MOST_STEPS):
        if frames is not None:
            frames.append(env.render())
        action, state = model.predict(observation, state, start, deterministic)  # type: ignore[arg-type]
        observation, _, done, infos = env.step(action)
        start = done
        if done[0]:
            return float(infos[0]["episode"]["r"])
    raise ConfigError(f"an episode of {finished.settings.env} has not ended after {_MOST_STEPS:,} steps")


def _even(shape: tuple[int, ...]) -> tuple[int, int]:
    # Video codecs take even sizes only.
    return shape[0] // 2 * 2, shape[1] // 2 * 2


def _imageio() -> Any:
    try:
        import imageio.v2
        import imageio_ffmpeg  # noqa: F401
    except ImportError as error:
        raise ConfigError("videos need imageio: pip install 'imageio[ffmpeg]'") from error
    return imageio.v2
