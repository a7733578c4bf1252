"""``sb3-lottery floor``: random actions, constant actions, the untrained network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sb3_lottery.analysis import floor
from sb3_lottery.cli import main
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


def test_continuous_actions_and_normalised_observations(tmp_path: Path) -> None:
    """The returns are the game's own, also where the training sees scaled rewards."""
    words = [*WORDS, "--env", "Pendulum-v1", "--normalize", "--reward-scale", "0.01", "--out", str(tmp_path)]
    _, _, means = floor(request_for(words).settings.model, 1, episodes=2)
    assert set(means) == {"the untrained network", "random actions"}
    assert all(-2200 < mean < -100 for mean in means.values())
