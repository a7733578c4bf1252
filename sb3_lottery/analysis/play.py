"""Show a trained agent on the screen, or record it as a video."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any

import numpy
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from lottery_core.errors import ConfigError, LotteryError
from lottery_core.files import first_line, write_atomically
from lottery_core.pruning import derive_seed
from sb3_lottery.analysis.finished_run import FinishedRun
from sb3_lottery.models import needs_action_masks

VIDEOS = (".mp4", ".gif")
_MOST_STEPS = 100_000  # maximum number of steps in an episode, because some games never end


def play_episodes(finished: FinishedRun, episodes: int, deterministic: bool, video: Path | None) -> list[float]:
    """Play episodes with the agent of a run in one environment with fresh seeds.

    :param finished: the run
    :param episodes: number of episodes, at least 1
    :param deterministic: whether to take the best action instead of sampling
    :param video: path of the video, .mp4 or .gif; ``None`` shows a window
    :returns: the return of each episode
    :raises ConfigError: ``episodes`` is below 1, the video format is unknown, imageio is not installed, there is no
        display, or the environment cannot be rendered
    :raises WriteError: the video cannot be written
    """
    if episodes < 1:
        raise ConfigError(f"--episodes must be at least 1, not {episodes}")
    if video is not None and video.suffix not in VIDEOS:
        raise ConfigError(f"a video must end in {' or '.join(VIDEOS)}, not in '{video.suffix}'")
    if video is None and not _has_display():
        raise ConfigError("there is no display to show the agent on: record it with -o video.mp4 or -o video.gif")
    imageio = None if video is None else _imageio()
    try:
        with nullcontext() if video is None else _no_window():
            return _play(finished, episodes, deterministic, video, imageio)
    except LotteryError:
        raise
    except Exception as error:  # an environment or its window may raise anything
        reason = first_line(error)
        raise ConfigError(f"cannot render {finished.settings.env}: {reason}") from error


def _play(finished: FinishedRun, episodes: int, deterministic: bool, video: Path | None, imageio: Any) -> list[float]:
    mode = "human" if video is None else "rgb_array"
    env = finished.rendered_env(derive_seed("play", finished.run.seed), mode)
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
    # pygame needs a display even to draw into memory.
    if "SDL_VIDEODRIVER" in os.environ:
        yield
        return
    os.environ["SDL_VIDEODRIVER"] = "dummy"
    try:
        yield
    finally:
        del os.environ["SDL_VIDEODRIVER"]


def _film(
    finished: FinishedRun, env: VecEnv, episodes: int, deterministic: bool, imageio: Any, file: IO[bytes], video: Path
) -> list[float]:
    rate = env.get_attr("metadata")[0].get("render_fps", 30)
    # imageio would resize the frames to multiples of 16 pixels; codecs need multiples of 2.
    options = {"fps": rate, "macro_block_size": 2} if video.suffix == ".mp4" else {"duration": 1000 / rate, "loop": 0}
    model = finished.model()
    # Frame by frame, since all frames of an episode may take gigabytes.
    with imageio.get_writer(file, format=video.suffix, mode="I", **options) as writer:

        def write_frame() -> None:
            frame = env.render()
            if frame is None:
                raise ConfigError(f"{finished.settings.env} cannot be recorded (it has no render mode rgb_array)")
            height, width = _even(frame.shape)
            writer.append_data(frame[:height, :width])

        return [_episode(finished, model, env, deterministic, write_frame) for _ in range(episodes)]


def _episode(
    finished: FinishedRun,
    model: BaseAlgorithm,
    env: VecEnv,
    deterministic: bool,
    before_each_step: Callable[[], None] = lambda: None,
) -> float:
    get_action_masks: Any = None
    if needs_action_masks(model):
        from sb3_contrib.common.maskable.utils import get_action_masks
    observation = env.reset()
    state, start = None, numpy.ones(1, dtype=bool)
    for _ in range(_MOST_STEPS):
        before_each_step()
        more = {"action_masks": get_action_masks(env)} if get_action_masks else {}
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
    # Video codecs need an even height and width.
    return shape[0] // 2 * 2, shape[1] // 2 * 2


def _imageio() -> Any:
    try:
        import imageio.v2
        import imageio_ffmpeg  # noqa: F401
    except ImportError as error:
        raise ConfigError("videos need imageio: pip install 'imageio[ffmpeg]'") from error
    return imageio.v2
