"""Showing and recording a trained agent."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.wrappers import RescaleAction, TransformReward
from sb3_contrib import MaskablePPO
from stable_baselines3 import A2C, DQN, HerReplayBuffer
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import BitFlippingEnv
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from lottery_core.errors import ConfigError
from lottery_core.experiments import Run, Score, dense, write_floor
from sb3_lottery.analysis.finished_run import FinishedRun
from sb3_lottery.analysis.play import _episode, play_episodes
from sb3_lottery.analysis.user_model import UserModel
from sb3_lottery.models.settings import ModelSettings
from tests.lottery_core.experiments.test_stop_at_floor import done
from tests.sb3_lottery.tiny import Punished, Tiny


def test_without_a_display_a_video_is_advised(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    finished = FinishedRun(Path("nowhere"), dense(1), ModelSettings("a2c", "CartPole-v1"))
    with pytest.raises(ConfigError, match=r"no display to show the agent on: record it with -o video\.mp4"):
        play_episodes(finished, 1, False, None)


def test_an_environment_without_pictures_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SDL_VIDEODRIVER", raising=False)
    model = A2C("MlpPolicy", "CartPole-v1", seed=1, device="cpu")
    model.save(tmp_path / "model.zip")
    finished = FinishedRun(tmp_path, dense(1), ModelSettings("a2c", "CartPole-v1"))
    monkeypatch.setattr("stable_baselines3.common.vec_env.DummyVecEnv.render", lambda *_, **__: None)
    with pytest.raises(ConfigError, match="CartPole-v1 cannot be recorded"):
        play_episodes(finished, 1, False, tmp_path / "film.gif")
    assert not (tmp_path / "film.gif").exists()
    assert "SDL_VIDEODRIVER" not in os.environ  # or a window would be thought to have a screen


def test_the_last_round_is_the_last_one_that_was_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where --stop-at-floor left the deeper ones out."""
    monkeypatch.setattr("sb3_lottery.analysis.finished_run.UserModel", lambda *_: None)
    write_floor(tmp_path, Score(20.0, 0.5, 100), "random actions")
    done(tmp_path, 2, framework="sb3", settings={"lr": 0.01, "steps": 4})
    options = {"make_model": "models:make_model", "trust": True}
    assert FinishedRun.of(tmp_path, "random", None, None, **options).run == Run(1, "random", 3)
    assert FinishedRun.of(tmp_path, "winning", None, None, **options).run.round == 5
    with pytest.raises(ConfigError, match="random round 4 is not finished; the last finished round is 3"):
        FinishedRun.of(tmp_path, "random", 4, None, **options)


def test_an_environment_that_cannot_be_rendered_is_one_line(tmp_path: Path) -> None:
    gymnasium.register("NoPicture-v0", Tiny)
    model = A2C("MlpPolicy", Monitor(Tiny()), seed=1, device="cpu")
    model.save(tmp_path / "model.zip")
    finished = FinishedRun(tmp_path, dense(1), ModelSettings("a2c", "NoPicture-v0"))
    with pytest.raises(ConfigError, match="cannot render NoPicture-v0"):
        play_episodes(finished, 1, False, tmp_path / "film.gif")
    assert not (tmp_path / "film.gif").exists()


def scaled(seed: int) -> A2C:
    env = RescaleAction(gymnasium.make("Pendulum-v1"), -1.0, 1.0)
    return A2C("MlpPolicy", env, seed=seed, device="cpu")


def rewarded_less(seed: int) -> A2C:
    def wrap(env: gymnasium.Env) -> gymnasium.Env:
        return TransformReward(env, lambda reward: reward / 100)

    return A2C("MlpPolicy", make_vec_env("CartPole-v1", wrapper_class=wrap), seed=seed, device="cpu")


def test_the_return_is_that_of_the_game_as_in_training() -> None:
    """Monitor is where the user's function has it, inside of a wrapper that changes rewards."""
    made = UserModel(f"{__name__}:rewarded_less", 1, {"algorithm": "A2C"})
    env = made.rendered_env(1, "rgb_array")
    env.reset()
    infos: list[dict[str, Any]] = [{}]
    while "episode" not in infos[0]:
        _, rewards, _, infos = env.step(np.array([1]))
    assert rewards[0] == pytest.approx(0.01)
    assert infos[0]["episode"]["r"] == infos[0]["episode"]["l"]
    env.close()


class Own(gymnasium.Wrapper):
    """A wrapper that does not record its arguments."""


def wrapped(seed: int) -> A2C:
    return A2C("MlpPolicy", Own(gymnasium.make("Pendulum-v1")), seed=seed, device="cpu")


def failing(seed: int) -> A2C:
    raise RuntimeError("no licence")


def test_the_wrappers_of_a_users_environment_are_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half the torque would be another game."""
    known = {"algorithm": "A2C"}
    env = UserModel(f"{__name__}:scaled", 1, known).rendered_env(1, "rgb_array")
    assert env.action_space == gymnasium.spaces.Box(-1.0, 1.0, (1,))
    env.close()
    with pytest.raises(ConfigError, match="has the wrapper Own, which cannot be repeated"):
        UserModel(f"{__name__}:wrapped", 1, known).rendered_env(1, "rgb_array")
    with pytest.raises(ConfigError, match=r"--make-model .*:failing failed: RuntimeError: no licence"):
        UserModel(f"{__name__}:failing", 1, known)


def test_an_agent_with_hindsight_replay_is_loaded_without_an_environment(tmp_path: Path) -> None:
    """And without its replay buffer, for which there may be no memory."""
    buffer: dict[str, Any] = {"replay_buffer_class": HerReplayBuffer, "replay_buffer_kwargs": {"n_sampled_goal": 2}}
    env = Monitor(BitFlippingEnv(n_bits=3))
    with pytest.warns(UserWarning, match="`n_steps=2` is ignored"):
        trained = DQN("MultiInputPolicy", env, **buffer, buffer_size=100, n_steps=2, seed=1, device="cpu")
    trained.save(tmp_path / "model.zip")
    model = FinishedRun(tmp_path, dense(1), ModelSettings("dqn", "CartPole-v1")).model()
    assert model.replay_buffer.buffer_size == 1  # type: ignore[attr-defined]
    assert torch.equal(model.policy.state_dict()["q_net.q_net.0.weight"], trained.q_net.q_net[0].weight)
    observation = trained.observation_space.sample()
    assert model.predict(observation, deterministic=True) == trained.predict(observation, deterministic=True)


def test_an_agent_with_action_masks_plays_valid_actions_only() -> None:
    model = MaskablePPO("MlpPolicy", Monitor(Punished()), n_steps=8, batch_size=8, seed=1, device="cpu")
    finished = FinishedRun(Path("nowhere"), dense(1), ModelSettings("maskableppo", "Punished-v0"))
    env = DummyVecEnv([lambda: Monitor(Punished())])
    assert all(_episode(finished, model, env, False) >= 0 for _ in range(5))
