"""The settings that the runs of an experiment share: their JSON, and experiments that have none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lottery_core.errors import ConfigError
from lottery_core.experiments import Experiment, Point
from sb3_lottery.models.settings import ModelSettings
from sb3_lottery.training.evaluation import Evaluation
from sb3_lottery.training.framework import Sb3
from sb3_lottery.training.run_settings import RunSettings
from sb3_lottery.training.spec import TrainingSpec, parse_rewind

EPOCH = Point("episodes", 160)


def experiment(settings: dict, rewind: str = "init", framework: str = Sb3.name) -> Experiment:
    return Experiment(Path("x"), framework, settings, 0.2, rewind, ("winning",), (1,), 1)


@pytest.mark.parametrize("word", ["init", "episodes:160", "updates:7", "timesteps:9", "lr", "none"])
def test_what_is_written_is_read(word: str) -> None:
    rewind, rate_restarts = parse_rewind(word)
    training = TrainingSpec(EPOCH, 20, rewind, 100, rate_restarts)
    assert training.rewind_word == word
    settings = RunSettings(ModelSettings("a2c", "CartPole-v1"), training, Evaluation(3, True), 2)
    values = json.loads(json.dumps(settings.as_json()))
    assert list(values) == ["model", "epoch", "epochs", "score_episodes", "threads", "evaluation"]
    assert (values["epoch"], values["epochs"], values["score_episodes"]) == ("episodes:160", 20, 100)
    # "init" is 0 of whatever unit.
    assert RunSettings.of(experiment(values, word)).as_json() == settings.as_json()
    assert RunSettings.of(experiment(values, word)).training.rewind_word == word


def test_epochs_count_in_their_own_unit() -> None:
    assert parse_rewind("epoch:2", EPOCH) == (Point("episodes", 320), True)
    with pytest.raises(ConfigError, match="--rewind 'epoch:2': unknown unit 'epoch'"):
        parse_rewind("epoch:2")


def test_experiments_of_others_are_refused() -> None:
    model = ModelSettings("a2c", "CartPole-v1").as_json()
    for other in (experiment({"model": model}, framework="fairseq"), experiment({"model": {"algorithm": "A2C"}})):
        with pytest.raises(ConfigError, match="x is not an experiment of sb3-lottery"):
            RunSettings.of(other)
