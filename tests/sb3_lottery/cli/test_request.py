"""The request of a command line: presets under options, rewind points, evaluations, versions."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from lottery_core.errors import ConfigError, ScopeError
from lottery_core.experiments import Experiment
from sb3_lottery.cli.command import main
from sb3_lottery.models.settings import ModelSettings
from sb3_lottery.training import RunSettings, TrainingSpec
from tests.sb3_lottery.helpers import SMALL, request_for


def test_presets_are_the_papers_table_and_options_override_them() -> None:
    request = request_for("--preset cartpole --out x")
    experiment, model = request.experiment, request.settings.model
    assert (experiment.rounds, experiment.prune_rate, experiment.rewind) == (20, 0.2, "episodes:160")
    assert (experiment.settings["epoch"], experiment.settings["epochs"], experiment.settings["score_episodes"]) == (
        "episodes:160",
        20,
        100,
    )
    assert (model.n_envs, model.reward_scale, model.net_arch) == (32, 0.01, (128, 128, 128))
    assert model.hyperparams == {"n_steps": 4, "learning_rate": 1e-4}
    assert (model.optimizer, model.optimizer_kwargs) == ("rmsprop", {"alpha": 0.99, "eps": 1e-8})
    acrobot, lander = (
        request_for(f"--preset {name} --out x --env-backend gymnasium") for name in ("acrobot", "lunarlander")
    )
    assert (str(acrobot.settings.training.epoch), acrobot.settings.model.net_arch) == ("episodes:320", (256,) * 3)
    assert (str(lander.settings.training.epoch), lander.settings.model.env) == ("episodes:640", "LunarLander-v3")
    (note,) = lander.notes
    assert note.startswith("LunarLander-v3 replaces the preset's LunarLander-v2")
    other = request_for("--preset cartpole --out x --rounds 3 --hyperparams n_steps:8 gamma:0.9 --rewind init")
    assert other.settings.model.hyperparams == {"n_steps": 8, "learning_rate": 1e-4, "gamma": 0.9}
    assert (other.experiment.rounds, other.experiment.rewind) == (3, "init")
    ppo = request_for("--preset cartpole --out x --algo ppo --fused").settings.model
    assert ppo.hyperparams == {}
    assert (ppo.optimizer, ppo.optimizer_kwargs) == ("adam", {"eps": 1e-5, "fused": True})
    a2c = request_for(
        "--algo a2c --env CartPole-v1 --epoch timesteps:9 --out x --hyperparams use_rms_prop:False --fused"
    ).settings.model
    assert (a2c.optimizer, a2c.optimizer_kwargs) == ("adam", {"eps": 1e-5, "fused": True}), "A2C's own Adam"


@pytest.mark.parametrize(
    "words",
    [
        SMALL,
        "--preset lunarlander --env-backend gymnasium --eval-episodes 5 --deterministic --threads 2",
        "--preset breakout --rewind none",
        "--preset cartpole --rewind-what lr --scope actor",
        "--preset cartpole --scope-shares separate",
    ],
)
def test_the_worker_reads_the_settings_that_the_command_wrote(words: str, tmp_path: Path) -> None:
    request = request_for(f"{words} --out {tmp_path}")
    request.experiment.write()
    experiment = Experiment.load(tmp_path)
    assert experiment.fixed() == json.loads(json.dumps(request.experiment.fixed()))
    settings = RunSettings.of(experiment)
    assert json.dumps(settings.as_json()) == json.dumps(request.experiment.settings)
    assert settings.training == request.settings.training
    assert settings.evaluation == request.settings.evaluation
    assert settings.threads == request.settings.threads


def test_the_command_reads_no_settings_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parsing makes the typed settings once; ``experiment.json`` is read by the worker alone."""
    monkeypatch.setattr(ModelSettings, "from_json", None)
    monkeypatch.setattr(TrainingSpec, "from_json", None)
    assert main([*shlex.split(SMALL), "--out", str(tmp_path / "x"), "--dry-run", "--quiet"]) == 0


KEEPING = {
    "both": ("--rewind-what lr --rewind epoch:1", "leave --rewind out"),
    "deterministic": ("--deterministic", "it needs --eval-episodes N"),
    "no episode": ("--eval-episodes 0", "an evaluation needs at least 1 episode"),
}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--algo dqn --ortho-init", r"--ortho-init is for algorithms with rollouts .*; DQN has none"),
        ("--algo dqn --no-ortho-init", None),
        ("--policy cnn --activation tanh", "--activation tanh has no effect: the CNN has ReLU"),
        ("--policy cnn --cnn pooling --net-arch 512 512 --activation tanh", "--activation tanh has no effect"),
        ("--policy cnn --net-arch 512 64 --activation tanh", None),
        ("--policy cnn --activation relu", None),
        ("--env BreakoutNoFrameskip-v4 --activation tanh", "--activation tanh has no effect"),
        ("--env BreakoutNoFrameskip-v4 --policy mlp --activation tanh", None),
        ("--policy cnn --shared-trunk --net-arch 64 32", "--shared-trunk: with --cnn nature only the first layer"),
        ("--policy cnn --shared-trunk --net-arch 64", None),
        ("--policy cnn --cnn pooling --shared-trunk --net-arch 64 32", None),
        ("--algo dqn --policy cnn --net-arch 64 32", None),
        ("--env-threads 3", "--env-threads is for EnvPool and ALE"),
    ],
)
def test_options_without_effect_are_refused(words: str, expected: str | None, tmp_path: Path) -> None:
    words = f"--algo ppo --env CartPole-v1 --epoch timesteps:9 --env-backend gymnasium --out {tmp_path} {words}"
    if expected is None:
        request_for(words)
        return
    with pytest.raises(ConfigError, match=expected):
        request_for(words)


def test_a_folder_that_began_with_an_option_without_effect_goes_on(tmp_path: Path) -> None:
    words = f"--algo dqn --env CartPole-v1 --epoch timesteps:9 --out {tmp_path}"
    request = request_for(words)
    model = replace(request.settings.model, ortho_init=True)
    settings = {**request.experiment.settings, "model": model.as_json()}
    replace(request.experiment, settings=settings).write()
    assert request_for(f"{words} --ortho-init").experiment.check_same_as_before()


@pytest.mark.parametrize("name", KEEPING)
def test_rewinding_and_evaluating_refused(name: str) -> None:
    more, expected = KEEPING[name]
    with pytest.raises(ConfigError, match=expected):
        request_for(f"{SMALL.replace('--rewind epoch:1', '')} --out x {more}")


def test_rewinding_words() -> None:
    text = f"{SMALL.replace('--rewind epoch:1', '')} --out x"
    assert request_for(f"{text} --rewind-what lr").experiment.rewind == "lr"
    assert request_for(f"{text} --rewind none").experiment.rewind == "none"
    assert request_for(f"{text} --rewind-what weights").experiment.rewind == "timesteps:400"
    assert "evaluation" not in request_for(text).experiment.settings


def test_versions_name_what_a_run_uses(tmp_path: Path) -> None:
    common = f"--epoch timesteps:400 --out {tmp_path}"
    plain = request_for(f"--algo ppo --env CartPole-v1 {common}").experiment.versions
    contrib = request_for(f"--algo trpo --env CartPole-v1 {common}").experiment.versions
    assert set(contrib) - set(plain) == {"sb3-contrib"}
    atari = f"--algo ppo --env BreakoutNoFrameskip-v4 --env-backend gymnasium {common}"
    assert set(request_for(atari).experiment.versions) - set(plain) <= {"ale-py"}


def test_settings_of_earlier_folders_stay_what_they_were() -> None:
    words = "--algo a2c --env CartPole-v1 --epoch timesteps:100"
    model = request_for(f"{words} --out x").experiment.settings["model"]
    assert set(model) == {
        "algo", "env", "n_envs", "reward_scale", "net_arch", "shared_trunk", "activation", "ortho_init", "optimizer",
        "optimizer_kwargs", "hyperparams", "device",
    }  # fmt: skip
    assert ModelSettings.from_json(model).env_backend == "gymnasium"


def test_a_folder_goes_on_with_the_backend_it_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--preset", "lunarlander", "--out", str(tmp_path)]
    request_for([*words, "--env-backend", "gymnasium"]).experiment.write()
    monkeypatch.setattr("sb3_lottery.backends.envpool_vec.installed", lambda: True)
    again = request_for(words).experiment
    again.check_same_as_before()
    assert again.settings["model"]["env"] == "LunarLander-v3"
    fresh = request_for([*words[:3], str(tmp_path / "x")]).experiment
    assert (fresh.settings["model"]["env"], fresh.settings["model"]["env_backend"]) == ("LunarLander-v2", "envpool")


def test_separate_shares_are_refused_where_there_are_no_two_networks(tmp_path: Path) -> None:
    assert request_for("--preset cartpole --out x --scope-shares separate").experiment.scope_shares == "separate"
    assert request_for("--preset cartpole --out x").experiment.scope_shares == "together"
    with pytest.raises(ScopeError, match="DQN has no actor and critic"):
        request_for("--algo dqn --env CartPole-v1 --epoch timesteps:9 --out x --scope-shares separate")
    with pytest.raises(ConfigError, match="unknown scope shares 'apart'"):
        request_for("--preset cartpole --out x --scope-shares apart")
