"""Atari games: their ids, and the wrappers that the gymnasium backend puts around a game.

The frames are those of ALE's and EnvPool's vector environments: grey by the ALE's own palette, maximum of the last two
of four skipped frames, resized by area, the last four stacked (Mnih et al. 2015; Machado et al. 2018).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium.wrappers import FrameStackObservation
from numpy.typing import NDArray
from stable_baselines3.common.atari_wrappers import MaxAndSkipEnv

from lottery_core.errors import ConfigError, unknown_choice
from sb3_lottery.backends.request import FRAME_SKIP, FRAME_STACK, MAX_FRAMES, EnvRequest, package_missing

_IDS = re.compile(r"ALE/(?P<new>\w+)-v5|(?P<old>\w+)NoFrameskip-v(?P<version>[04])")
_FIRE = "FIRE"


@dataclass(frozen=True)
class AtariGame:
    """An Atari game.

    :param name: the name in its ids, e.g. ``"SpaceInvaders"``
    :param sticky: probability that the last action is repeated instead of the chosen action: 0.25 in v0 and v5, 0 in v4
    """

    name: str
    sticky: float

    @property
    def rom(self) -> str:
        """The ALE's name of the game, e.g. ``"space_invaders"``.

        :raises ConfigError: ale-py is not installed or does not have the game
        """
        try:
            games = _games()
        except ImportError as error:
            raise package_missing("Atari", "ale-py", "ale-py", "atari") from error
        if self.name not in games:
            raise unknown_choice(self.name, "Atari game", games)
        return games[self.name]


def _games() -> dict[str, str]:
    # Name in ids -> the ALE's name.
    import ale_py

    gymnasium.register_envs(ale_py)
    return {
        key[len("ALE/") : -len("-v5")]: str(spec.kwargs["game"])
        for key, spec in gymnasium.registry.items()
        if key.startswith("ALE/") and key.endswith("-v5")
    }


def atari_game(env: str) -> AtariGame | None:
    """Return the Atari game with an id, ``None`` for any other environment.

    :param env: id of an environment, e.g. ``BreakoutNoFrameskip-v4`` or ``ALE/Breakout-v5``
    """
    match = _IDS.fullmatch(env)
    if match is None:
        return None
    return AtariGame(match["new"] or match["old"], 0.0 if match["version"] == "4" else 0.25)


def atari_hint(env: str) -> str:
    """Suggest ids of the Atari game that ``env`` may mean (``Pong-v5``); empty if there is no such game."""
    name = re.split(r"NoFrameskip|Deterministic|-", env.removeprefix("ALE/"))[0]
    try:
        known = name in _games()
    except ImportError:
        known = False
    return f"ALE/{name}-v5 or {name}NoFrameskip-v4" if known else ""


class _Start(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A wrapper that starts a game with fewer than ``noop_max`` actions without effect, then FIRE if it exists."""

    def __init__(self, env: gymnasium.Env[Any, Any], noop_max: int) -> None:
        super().__init__(env)
        self.noop_max = noop_max
        meanings = env.unwrapped.get_action_meanings()  # type: ignore[attr-defined]
        self.fire = meanings.index(_FIRE) if _FIRE in meanings else None

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(**kwargs)
        noops = int(self.unwrapped.np_random.integers(self.noop_max))
        for action in [0] * noops + ([] if self.fire is None else [self.fire]):
            observation, _, terminated, truncated, info = self.env.step(action)
            if terminated or truncated:
                observation, info = self.env.reset()
        return observation, info


class _Resize(gymnasium.ObservationWrapper[Any, Any, Any]):
    """A wrapper that resizes grey frames.

    :param env: environment whose observations are grey frames
    :param size: height and width in pixels
    :raises ConfigError: OpenCV is not installed
    """

    def __init__(self, env: gymnasium.Env[Any, Any], size: tuple[int, int]) -> None:
        super().__init__(env)
        try:
            import cv2
        except ImportError as error:
            raise package_missing(
                "Atari with the gymnasium backend", "OpenCV", "opencv-python-headless", "atari"
            ) from error
        self._cv2: Any = cv2  # only some versions have type annotations
        self.size = size
        self.observation_space = gymnasium.spaces.Box(0, 255, size, np.uint8)

    def observation(self, observation: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = self.size
        frame: NDArray[np.uint8] = self._cv2.resize(observation, (width, height), interpolation=self._cv2.INTER_AREA)
        return frame


def make_atari(game: AtariGame, request: EnvRequest) -> gymnasium.Env[Any, Any]:
    """Make one game with resized frames; :func:`stack` wraps it outside ``Monitor``.

    :param game: the game
    :param request: frame size, render mode and start of the game
    :raises ConfigError: a package is not installed, or there is no such game
    """
    env: gymnasium.Env[Any, Any] = gymnasium.make(
        f"ALE/{game.name}-v5" if game.rom else "",
        frameskip=1,
        repeat_action_probability=game.sticky,
        max_num_frames_per_episode=MAX_FRAMES,
        obs_type="grayscale",
        render_mode=request.render_mode,
    )
    return _Resize(MaxAndSkipEnv(_Start(env, request.noop_max), skip=FRAME_SKIP), request.frames)


def stack(env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    """Stack the last four frames, the newest last: (4, height, width)."""
    return FrameStackObservation(env, FRAME_STACK, padding_type="zero")


def check_frames(request: EnvRequest) -> None:
    """Check the frame size.

    :raises ConfigError: the environment is no Atari game but has a frame size, or the frame size is below 1 pixel
    """
    if request.frame_size is None:
        return
    if atari_game(request.env) is None:
        raise ConfigError(f"--frame-size is for Atari games; {request.env} is not one")
    if len(request.frame_size) != 2 or min(request.frame_size) < 1:
        raise ConfigError("--frame-size needs a height and a width of at least 1 pixel")
