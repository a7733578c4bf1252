"""``sb3-lottery floor``: random actions, constant actions, the untrained network."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.vec_env import DummyVecEnv

from lottery_core.errors import ConfigError
from lottery_core.experiments import Score, read_csv, read_floor
from sb3_lottery.analysis import floor
from sb3_lottery.cli import main, worker
from sb3_lottery.find import floor_of
from tests.sb3_lottery.helpers import request_for

WORDS = ["--algo", "ppo", "--rounds", "1", "--epoch", "timesteps:64", "--epochs", "2", "--rewind", "timesteps:32"]


def test_the_floor_of_a_game(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    request = request_for([*WORDS, "--env", "CartPole-v1", "--n-envs", "3", "--out", str(tmp_path)])
    score, policy, means = floor(request.settings.model, 1, episodes=20)
    assert set(means) == {"the untrained network", "random actions", "action 0 always", "action 1 always"}
    assert 8 < means["action 0 always"] < 11 < means["random actions"] < 40
    assert (score.score, score.returns) == (means[policy], 20)
    assert score.score == max(means.values())
    assert floor(request.settings.model, 1, episodes=20) == (score, policy, means)
    request.experiment.write()
    assert main(["floor", str(tmp_path), "--episodes", "5"]) == 0
    assert "action 1 always: " in capsys.readouterr().out
    assert json.loads((tmp_path / "floor.json").read_text())["returns"] == 5
    assert main(["floor", str(tmp_path), "--episodes", "0"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_model_that_is_loaded_is_drawn_anew(tmp_path: Path) -> None:
    """The floor of ``find_tickets`` around ``PPO.load`` is not what was learned before."""
    made = []

    def make(seed: int) -> PPO:
        model = PPO.load(tmp_path / "base.zip", env=DummyVecEnv([lambda: gymnasium.make("CartPole-v1")]), seed=seed)
        made.append((model, model.get_parameters()["policy"]))
        return model

    base = PPO("MlpPolicy", "CartPole-v1", n_steps=64, learning_rate=1.0, seed=1)
    base.learn(64)
    base.save(tmp_path / "base.zip")
    floor_of(make, lambda seed: DummyVecEnv([lambda: gymnasium.make("CartPole-v1")]), 1, episodes=2)
    ((model, loaded),) = made
    now = model.get_parameters()["policy"]
    assert loaded.keys() == now.keys()
    assert not torch.equal(loaded["action_net.weight"], now["action_net.weight"])
    assert now["action_net.weight"].abs().max() < 0.1 < loaded["action_net.weight"].abs().max()


def test_a_model_that_is_filled_is_drawn_anew() -> None:
    """Weights that no seed changes have been learned, though SB3 counts no steps of it."""
    made, state = [], PPO("MlpPolicy", "CartPole-v1", seed=1).get_parameters()

    def make(seed: int) -> PPO:
        made.append(PPO("MlpPolicy", "CartPole-v1", seed=seed))
        made[-1].set_parameters(state)
        return made[-1]

    floor_of(make, lambda seed: DummyVecEnv([lambda: gymnasium.make("CartPole-v1")]), 1, episodes=2)
    now, learned = made[0].get_parameters()["policy"], state["policy"]
    assert not torch.equal(learned["action_net.weight"], now["action_net.weight"])


class Waits(gymnasium.Env[Any, Any]):
    """It waits for action 1, for ever."""

    observation_space, action_space = spaces.Box(0, 1, (1,), numpy.float32), spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        return numpy.zeros(1, numpy.float32), {}

    def step(self, action: Any) -> Any:
        return numpy.zeros(1, numpy.float32), 1.0, bool(action == 1), False, {}


gymnasium.register("Waits-v0", Waits)


def test_an_action_with_which_no_episode_ends_is_left_out(tmp_path: Path) -> None:
    words = [*WORDS, "--env", "Waits-v0", "--n-envs", "2", "--out", str(tmp_path)]
    score, policy, means = floor(request_for(words).settings.model, 1, episodes=4)
    assert set(means) == {"the untrained network", "random actions", "action 1 always"}
    assert means["action 1 always"] == 1
    assert (score.score, score.returns) == (means[policy], 4)


@pytest.mark.parametrize("waits", [(1.0, 0.0), (0.0, 1.0)])
def test_a_network_with_which_no_episode_ends_is_left_out(
    waits: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An untrained DQN takes its best action only."""
    monkeypatch.setattr(sys.modules[floor_of.__module__], "_MOST_STEPS", 20)

    def make(seed: int) -> DQN:
        model = DQN("MlpPolicy", Waits(), seed=seed, buffer_size=10, device="cpu")
        with torch.no_grad():
            model.q_net.q_net[-1].weight.zero_()  # type: ignore[union-attr, operator]
            model.q_net.q_net[-1].bias.copy_(torch.tensor(waits))  # type: ignore[union-attr]
        return model

    _, _, means = floor_of(make, lambda seed: DummyVecEnv([Waits]), 1, episodes=3)
    network = {"the untrained network"} if waits[1] else set()
    assert set(means) == {"random actions", "action 1 always"} | network
    monkeypatch.setattr("stable_baselines3.common.vec_env.DummyVecEnv.step_wait", _never_ends)
    with pytest.raises(ConfigError, match="no episode has ended in 60 steps of any policy: there is no floor"):
        floor_of(make, lambda seed: DummyVecEnv([Waits]), 1, episodes=3)


def _never_ends(env: DummyVecEnv) -> Any:
    return numpy.zeros((1, 1), numpy.float32), numpy.ones(1), numpy.zeros(1, bool), [{}]


@pytest.mark.parametrize("wanted", [True, False])
def test_the_first_dense_run_measures_it(wanted: bool, tmp_path: Path) -> None:
    words = [*WORDS, "--env", "CartPole-v1", "--out", str(tmp_path), "--seeds", "1-2", "--kinds", "winning"]
    assert main([*words, "--rounds", "0", *([] if wanted else ["--no-floor"])]) == 0
    assert (tmp_path / "floor.json").exists() == wanted
    rows = read_csv(tmp_path / "results.csv")
    assert [row.kind for row in rows] == (["dense", "floor", "dense"] if wanted else ["dense", "dense"])
    told = [(tmp_path / f"seed-{seed}/dense/train.log").read_text().count("\nfloor ") for seed in (1, 2)]
    assert told == [int(wanted), 0]
    if wanted:
        floor_ = next(row for row in rows if row.kind == "floor")
        assert (floor_.returns, floor_.noise, floor_.same_as) == (100, 1, "")
        assert floor_.score == floor(request_for(words).settings.model, 1)[0].score


def test_it_is_measured_before_the_run_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill in that time would lose a training that is done."""
    words = [*WORDS, "--env", "CartPole-v1", "--out", str(tmp_path), "--kinds", "winning"]
    request_for(words).experiment.write()
    monkeypatch.setattr(worker, "floor", lambda *_: (Score(9.0, 0.1, 100), "random actions", {}))

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(worker, "train_run", killed)
    assert worker.main([str(tmp_path / "seed-1/dense"), "--floor"]) == 130
    assert read_floor(tmp_path) == 9.0


def test_continuous_actions_and_normalised_observations(tmp_path: Path) -> None:
    """The returns are the game's own, also where the training sees scaled rewards."""
    words = [*WORDS, "--env", "Pendulum-v1", "--normalize", "--reward-scale", "0.01", "--out", str(tmp_path)]
    _, _, means = floor(request_for(words).settings.model, 1, episodes=2)
    assert set(means) == {"the untrained network", "random actions"}
    assert all(-2200 < mean < -100 for mean in means.values())
