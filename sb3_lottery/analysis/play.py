"""A trained agent at play: on the screen, or as a video."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from lottery_core.errors import ConfigError, LotteryError
from lottery_core.files import write_atomically
from lottery_core.pruning import derive_seed
from sb3_lottery.analysis.finished_run import Finished
from sb3_lottery.backends.envpool_vec import SUCCESSORS
from sb3_lottery.backends.gymnasium_vec import make_gymnasium
from sb3_lottery.models import asks_for_masks, request_of

VIDEOS = (".mp4", ".gif")
_MOST_STEPS = 100_000  # of one episode, in a game that does not end


def play(finished: Finished, episodes: int, deterministic: bool, video: Path | None) -> list[float]:
    """Let the agent of a run play, one environment, from fresh seeds.

    :param finished: the run
    :param episodes: how many, at least 1
    :param deterministic: the best action instead of a sampled one
    :param video: a file that ends in .mp4 or .gif; ``None`` shows a window
    :returns: the return of each episode
    :raises ConfigError: no episode, another ending, no imageio, no display, or an environment that cannot be rendered
    :raises WriteError: the video cannot be written
    """
    if episodes < 1:
        raise ConfigError(f"--episodes must be at least 1, not {episodes}")
    if video is not None and video.suffix not in VIDEOS:
        raise ConfigError(f"a video ends in {' or '.join(VIDEOS)}, not in '{video.suffix}'")
    if video is None and not _has_display():
        raise ConfigError("there is no display to show it on: record it, -o video.mp4 or -o video.gif")
    imageio = None if video is None else _imageio()
    name = SUCCESSORS.get(finished.settings.env, finished.settings.env)
    try:
        with nullcontext() if video is None else _no_window():
            return _play(finished, name, episodes, deterministic, video, imageio)
    except LotteryError:
        raise
    except Exception as error:  # whatever an environment or its window does without a display
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"cannot render {name}: {reason}") from error


def _play(
    finished: Finished, name: str, episodes: int, deterministic: bool, video: Path | None, imageio: Any
) -> list[float]:
    # Only gymnasium shows its environments; the agent sees the same whoever steps them.
    request = replace(request_of(finished.settings), env=name, n_envs=1, subproc=False)
    request = replace(request, render_mode="human" if video is None else "rgb_array")
    env = finished.seen(make_gymnasium(request, derive_seed("play", finished.run.seed)))
    try:
        if video is None:
            return [_episode(finished, model, env, deterministic) for model in [finished.model()] * episodes]
        returns: list[float] = []
        write_atomically(
            video, lambda file: returns.extend(_film(finished, env, episodes, deterministic, imageio, file, video))
        )
        return returns
    finally:
        env.close()


@contextmanager
def _no_window() -> Iterator[None]:
    # pygame asks for a display even where it draws into memory.
    if "SDL_VIDEODRIVER" in os.environ:
        yield
        return
    os.environ["SDL_VIDEODRIVER"] = "dummy"
    try:
        yield
    finally:
        del os.environ["SDL_VIDEODRIVER"]


def _film(
    finished: Finished, env: VecEnv, episodes: int, deterministic: bool, imageio: Any, file: IO[bytes], video: Path
) -> list[float]:
    rate = env.get_attr("metadata")[0].get("render_fps", 30)
    # imageio would stretch a film to multiples of 16 pixels; 2 is what codecs need.
    how = {"fps": rate, "macro_block_size": 2} if video.suffix == ".mp4" else {"duration": 1000 / rate, "loop": 0}
    model = finished.model()
    # Frame by frame: an episode's frames together may take gigabytes.
    with imageio.get_writer(file, format=video.suffix, mode="I", **how) as writer:

        def keep() -> None:
            frame = env.render()
            if frame is None:
                raise ConfigError(f"{finished.settings.env} gives no pictures (no render mode rgb_array)")
            height, width = _even(frame.shape)
            writer.append_data(frame[:height, :width])

        return [_episode(finished, model, env, deterministic, keep) for _ in range(episodes)]


def _episode(
    finished: Finished,
    model: BaseAlgorithm,
    env: VecEnv,
    deterministic: bool,
    before_each_step: Callable[[], None] = lambda: None,
) -> float:
    masked: Any = None
    if asks_for_masks(model):
        from sb3_contrib.common.maskable.utils import get_action_masks as masked
    observation = env.reset()
    state, start = None, numpy.ones(1, dtype=bool)
    for _ in range(_MOST_STEPS):
        before_each_step()
        more = {"action_masks": masked(env)} if masked else {}
        action, state = model.predict(observation, state, start, deterministic, **more)  # type: ignore[arg-type]
        observation, _, done, infos = env.step(action)
        start = done
        if done[0]:
            return float(infos[0]["episode"]["r"])
    raise ConfigError(f"an episode of {finished.settings.env} has not ended after {_MOST_STEPS:,} steps")


def _has_display() -> bool:
    chosen = os.environ.get("SDL_VIDEODRIVER")
    return sys.platform != "linux" or bool(chosen or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


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
