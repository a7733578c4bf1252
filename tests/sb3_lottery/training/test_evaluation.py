"""Fresh episodes and play: as the agent was trained, with its masks and its images."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces
from sb3_contrib import MaskablePPO
from stable_baselines3 import A2C
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from lottery_core.errors import RunError
from lottery_core.experiments.results import Score
from sb3_lottery.training.evaluation import Evaluation
from tests.sb3_lottery.tiny import Punished, Tiny

SCORE = Score(0.0, 0.0, 1, 1, 0.0, 0.0)


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
    # An agent without masks would not do: of three actions it takes each.
    plain = A2C("MlpPolicy", Monitor(Punished()), seed=1, device="cpu")
    score = Evaluation(20)(plain, SCORE, lambda seed: fresh(Punished), 1).eval_score
    assert score is not None
    assert score < -50


class Endless(Tiny):
    """No episode ends."""

    def step(self, action: object) -> object:
        observation, reward, _, *more = super().step(action)
        return observation, reward, False, *more


def test_an_episode_that_never_ends_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with the best actions of a collapsed ticket where there is no TimeLimit; fewer steps in all are no limit."""
    monkeypatch.setattr("sb3_lottery.training.evaluation._LONGEST", 6)
    model = A2C("MlpPolicy", fresh(Tiny), seed=1, device="cpu")
    assert Evaluation(3)(model, SCORE, lambda seed: fresh(Tiny), 1).eval_episodes == 3
    with pytest.raises(RunError, match="an episode of the evaluation has not ended after 6 steps: put gymnasium's"):
        Evaluation(3, deterministic=True)(model, SCORE, lambda seed: fresh(Endless), 1)


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
