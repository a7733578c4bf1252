"""Fresh episodes and play: as the agent was trained, with its masks and its images."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from sb3_contrib import MaskablePPO
from stable_baselines3 import A2C
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from lottery_core.errors import ConfigError
from lottery_core.experiments.plan import dense
from lottery_core.experiments.results import Score
from sb3_lottery.analysis.finished_run import Finished
from sb3_lottery.analysis.play import _episode, play
from sb3_lottery.models.build import ModelSettings
from sb3_lottery.training.evaluation import Evaluation
from tests.sb3_lottery.tiny import Masked, Tiny

SCORE = Score(0.0, 0.0, 1, 1, 0.0, 0.0)


class Punished(Masked):
    """An invalid action costs 100."""

    def step(self, action: Any) -> Any:
        observation, reward, *more = super().step(action)
        return observation, -100.0 if int(action) == 2 else reward, *more


class ChannelsLast(Tiny):
    """Images as cameras give them."""

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = spaces.Box(0, 255, (36, 36, 3), np.uint8)


def fresh(kind: type[Tiny]) -> DummyVecEnv:
    return DummyVecEnv([lambda: Monitor(kind())])


def test_an_agent_with_action_masks_takes_valid_actions_only() -> None:
    model = MaskablePPO("MlpPolicy", Monitor(Punished()), n_steps=8, batch_size=8, seed=1, device="cpu")
    found = Evaluation(20)(model, SCORE, lambda seed: fresh(Punished), 1)
    assert found.eval_score is not None
    assert 0 <= found.eval_score <= 6
    finished = Finished(Path("nowhere"), dense(1), ModelSettings("maskableppo", "Punished-v0"))
    assert all(_episode(finished, model, fresh(Punished), False) >= 0 for _ in range(5))
    # An agent without masks would not do: of three actions it takes each.
    plain = A2C("MlpPolicy", Monitor(Punished()), seed=1, device="cpu")
    score = Evaluation(20)(plain, SCORE, lambda seed: fresh(Punished), 1).eval_score
    assert score is not None
    assert score < -50


def test_images_with_channels_last_are_seen_as_in_training() -> None:
    model = A2C("CnnPolicy", fresh(ChannelsLast), n_steps=4, seed=1, device="cpu")
    found = Evaluation(2)(model, SCORE, lambda seed: fresh(ChannelsLast), 1)
    assert found.eval_episodes == 2


def test_statistics_are_those_of_the_training() -> None:
    model = A2C("MlpPolicy", VecNormalize(fresh(Tiny)), n_steps=4, seed=1, device="cpu").learn(40)
    made: list[VecNormalize] = []

    def normalized(seed: int) -> VecNormalize:
        made.append(VecNormalize(fresh(Tiny)))
        return made[0]

    found = Evaluation(3)(model, SCORE, normalized, 1)
    trained = model.get_vec_normalize_env()
    assert trained is not None
    assert np.array_equal(made[0].obs_rms.mean, trained.obs_rms.mean)
    assert made[0].obs_rms.count == trained.obs_rms.count
    assert found.eval_score == pytest.approx(round(found.eval_score * 3) / 3)  # true returns are whole numbers


def test_without_a_display_a_video_is_advised(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    finished = Finished(Path("nowhere"), dense(1), ModelSettings("a2c", "CartPole-v1"))
    with pytest.raises(ConfigError, match=r"no display to show it on: record it, -o video\.mp4"):
        play(finished, 1, False, None)


def test_an_environment_without_pictures_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SDL_VIDEODRIVER", raising=False)
    model = A2C("MlpPolicy", "CartPole-v1", seed=1, device="cpu")
    model.save(tmp_path / "model.zip")
    finished = Finished(tmp_path, dense(1), ModelSettings("a2c", "CartPole-v1"))
    monkeypatch.setattr("stable_baselines3.common.vec_env.DummyVecEnv.render", lambda *_, **__: None)
    with pytest.raises(ConfigError, match="CartPole-v1 gives no pictures"):
        play(finished, 1, False, tmp_path / "film.gif")
    assert not (tmp_path / "film.gif").exists()
    assert "SDL_VIDEODRIVER" not in os.environ  # or a window would be thought to have a screen


def test_an_environment_that_cannot_be_rendered_is_one_line(tmp_path: Path) -> None:
    gymnasium.register("NoPicture-v0", Tiny)
    model = A2C("MlpPolicy", Monitor(Tiny()), seed=1, device="cpu")
    model.save(tmp_path / "model.zip")
    finished = Finished(tmp_path, dense(1), ModelSettings("a2c", "NoPicture-v0"))
    with pytest.raises(ConfigError, match="cannot render NoPicture-v0"):
        play(finished, 1, False, tmp_path / "film.gif")
    assert not (tmp_path / "film.gif").exists()
