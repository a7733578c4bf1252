"""Presets: the paper's games, what they cost, policies by observations, and a shortened Atari experiment."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.torch_layers import NatureCNN

from lottery_core import Ticket, read_weights
from lottery_core.errors import ConfigError
from lottery_core.experiments.results import read_rows
from lottery_core.files import read_json
from sb3_lottery.backends.ale_vec import installed as ale_installed
from sb3_lottery.backends.envpool_vec import installed as envpool_installed
from sb3_lottery.cli.command import main
from sb3_lottery.cli.presets import PRESETS
from sb3_lottery.models.build import make_model
from sb3_lottery.models.settings import ModelSettings
from sb3_lottery.training.evaluation import Evaluation
from tests import preloaded
from tests.conftest import Result
from tests.sb3_lottery.helpers import assert_dead, request_for

GAMES = ["assault", "berzerk", "breakout", "centipede", "kangaroo", "krull", "qbert", "seaquest", "spaceinvaders"]
SHORT = (
    "--n-envs 1 --hyperparams n_steps:100 batch_size:100 --epoch episodes:1 --epochs 1 --rewind updates:1 --rounds 1"
)
needs_ale = pytest.mark.skipif(not ale_installed(), reason="ale-py is not installed")
needs_envpool = pytest.mark.skipif(not envpool_installed(), reason="EnvPool is not installed")


def settings_of(words: str) -> ModelSettings:
    return request_for(f"{words} --out nowhere").settings.model


def test_all_games_of_the_paper_are_there() -> None:
    classic = ("cartpole", "acrobot", "lunarlander")
    more = (*(f"{game}-steps" for game in classic), *(f"{game}-nature" for game in GAMES))
    assert set(PRESETS) == {*classic, *GAMES, *more}
    found = settings_of("--preset spaceinvaders")
    assert (found.env, found.n_envs, found.frame_size, found.cnn) == (
        "SpaceInvadersNoFrameskip-v4",
        1024,
        (105, 80),
        "pooling",
    )
    assert found.hyperparams["n_steps"] == 6
    assert found.clip_reward
    assert not found.ortho_init


@needs_ale
def test_a_nature_preset_is_sb3s_cnn_policy() -> None:
    model = make_model(settings_of("--preset breakout-nature --n-envs 2"), 1)
    plain = PPO("CnnPolicy", model.env, n_steps=128, batch_size=256, device="cpu")
    assert isinstance(model.policy.features_extractor, NatureCNN)
    shapes, wanted = ({name: v.shape for name, v in one.policy.state_dict().items()} for one in (model, plain))
    assert shapes == wanted
    assert model.observation_space.shape == (4, 84, 84)


@needs_envpool
def test_the_preset_takes_lunarlander_v2_where_it_is_and_a_folder_goes_on_with_its_backend(
    tmp_path: Path, call: Callable[..., Result], capsys: pytest.CaptureFixture[str]
) -> None:
    words = shlex.split(
        "--preset lunarlander --epoch timesteps:6400 --epochs 1 --rounds 1 --kinds winning --score-episodes 2 "
        "--net-arch 8 --rewind init --out"
    )
    result = call("sb3_lottery.cli", *words, tmp_path / "new")
    assert result.returncode == 0, result.stderr
    assert main(["play", str(tmp_path / "new"), "-o", str(tmp_path / "film.gif")]) == 0
    capsys.readouterr()
    assert "environments: 32 x LunarLander-v2 by envpool" in result.stderr
    assert "environments: 32 x LunarLander-v2 by envpool" in (tmp_path / "new/seed-1/dense/train.log").read_text()
    assert read_json(tmp_path / "new/experiment.json")["settings"]["model"]["env_backend"] == "envpool"
    old = [*words, str(tmp_path / "old"), "--dry-run"]
    assert main([*old, "--env-backend", "gymnasium"]) == 0
    assert "environments: 32 x LunarLander-v3 by gymnasium" in capsys.readouterr().err


BAD = {
    "backend": ("--env-backend gym", "unknown backend of environments 'gym': did you mean gymnasium"),
    "processes": ("--env-backend ale --subproc", "--subproc is for the gymnasium backend"),
    "frames": ("--frame-size 105 80", "--frame-size is for Atari games; CartPole-v1 is not one"),
    "policy": ("--policy cnnn", "unknown policy 'cnnn': did you mean cnn"),
    "cnn": ("--cnn natur", "unknown CNN 'natur': did you mean nature"),
    "cnn on vectors": ("--policy cnn", "the policy cnn needs observations that are images"),
    "a game that ALE lacks": ("--env-backend ale", "--env-backend ale has Atari games only"),
    "a CNN preset on vectors": ("--preset breakout-nature", "needs observations that are images (uint8, 0 to 255)"),
    "a CNN on vectors": ("--cnn nature", "the policy cnn needs observations that are images"),
    "normalised images": (
        "--env BreakoutNoFrameskip-v4 --cnn nature --normalize",
        "needs observations that are images",
    ),
    "simulator": (
        "--env tests.sb3_lottery.tiny:Broken-v0",
        "cannot make environment 'tests.sb3_lottery.tiny:Broken-v0': no",
    ),
    "pixels": ("--env BreakoutNoFrameskip-v4 --frame-size 0 80", "at least 1 pixel"),
    "the paper's CNN on other frames": ("--env BreakoutNoFrameskip-v4 --cnn pooling", "4x84x84 give 1600"),
}


@pytest.mark.parametrize("case", BAD)
def test_each_bad_input_is_one_line(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words, line = BAD[case]
    if "Breakout" in words and not ale_installed():
        pytest.skip("ale-py is not installed")
    common = ["--algo", "ppo", "--env", "CartPole-v1", "--epoch", "timesteps:400", "--out", str(tmp_path / "x")]
    assert main([*common, *shlex.split(words)]) == 2
    shown = capsys.readouterr().err
    assert len(shown.splitlines()) == 1, shown
    assert line in shown
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@needs_ale
def test_a_shortened_breakout_of_the_paper(tmp_path: Path, call: Callable[..., Result]) -> None:
    """Dense, one winning and one random ticket of the paper's network, one game each."""
    more = "--score-episodes 1 --env-backend ale --no-floor --quiet"
    result = call(
        "sb3_lottery.cli",
        *shlex.split(f"--preset breakout {SHORT} {more}"),
        "--out",
        tmp_path / "x",
        timeout=900,
    )
    assert result.returncode == 0, result.stderr
    rows = read_rows(tmp_path / "x")
    assert [row.kind for row in rows] == ["dense", "winning", "random"]
    # 4 x 64 x 25, 64 x 64 x 25, 2 of 64 x 64 x 9, 1920 x 512, 512 x 512, heads of 4 and 1; biases
    assert rows[0].pool == 6400 + 102400 + 2 * 36864 + 983040 + 262144 + 5 * 512 + 4 * 64 + 2 * 512 + 5
    for row in rows[1:]:
        folder = tmp_path / "x" / row.run.folder
        ticket = Ticket.load(folder / "ticket.safetensors")
        assert_dead(dict(read_weights(folder / "model.zip").tensors), ticket.masks)
    code = (
        "import sys\n"
        "for name in ('sb3_lottery', 'lottery_core'): sys.modules[name] = None\n"
        "from stable_baselines3 import PPO\n"
        "print(type(PPO.load(sys.argv[1], device='cpu').policy.features_extractor).__name__)"
    )
    zip_file = tmp_path / "x/seed-1/winning/round-01/model.zip"
    loaded = _without_this_project(code, zip_file)
    assert loaded.stdout == "PoolingCNN\n", loaded.stderr


def _without_this_project(code: str, file: Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", code, str(file)]
    env = {**os.environ, "PYTHONPATH": "", preloaded.PARENT: "sb3-bare"}
    return subprocess.run(words, capture_output=True, text=True, check=False, cwd=file.parent, env=env)


@pytest.mark.parametrize("preset", ["cartpole", "acrobot", "lunarlander"])
def test_every_classic_preset_makes_a_model_that_steps(preset: str) -> None:
    model = make_model(settings_of(f"--preset {preset} --n-envs 2"), seed=1)
    model.learn(16)
    trunk = [name for name, _ in model.policy.named_parameters() if name.startswith("features_extractor.trunk")]
    assert len(trunk) == 6
    assert isinstance(model.policy.optimizer, torch.optim.RMSprop)


def test_a_zip_of_the_papers_network_loads_without_this_project(tmp_path: Path) -> None:
    model = make_model(settings_of("--preset cartpole"), 1)
    model.save(tmp_path / "m.zip")
    code = (
        "import sys\n"
        "for name in ('sb3_lottery', 'lottery_core'): sys.modules[name] = None\n"
        "from stable_baselines3 import A2C\n"
        "print(type(A2C.load(sys.argv[1]).policy.features_extractor).__name__)"
    )
    result = _without_this_project(code, tmp_path / "m.zip")
    assert result.stdout == "SharedTrunk\n", result.stderr


@pytest.mark.parametrize("name", ["cartpole-steps", "acrobot-steps", "lunarlander-steps"])
def test_presets_made_for_comparison_are_scored_by_fresh_episodes(name: str, tmp_path: Path) -> None:
    request = request_for(f"--preset {name} --out {tmp_path}")
    assert request.settings.evaluation == Evaluation(100, is_score=True)
    assert request.experiment.settings["evaluation"] == {"episodes": 100, "deterministic": False, "is_score": True}
    assert request.experiment.score_label == "mean return of 100 fresh episodes"
    by_training = request_for(f"--preset {name} --out {tmp_path} --score-by training")
    assert by_training.experiment.settings["evaluation"] == {"episodes": 100, "deterministic": False}
    assert by_training.experiment.score_label == "mean return of the last 100 training episodes"
    assert request_for(f"--preset {name.removesuffix('-steps')} --out {tmp_path}").settings.evaluation is None


def test_the_score_of_a_run_is_that_of_its_evaluation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = f"--preset cartpole-steps --out {tmp_path} --epoch timesteps:512 --epochs 2 --rounds 0 --no-floor --quiet"
    assert main([*words.split(), "--eval-episodes", "7"]) == 0
    (row,) = read_rows(tmp_path)
    assert (row.returns, row.eval_score, row.eval_episodes) == (7, None, 0)
    assert row.score * 7 == pytest.approx(round(row.score * 7))
    assert row.more["training"] != row.score
    assert row.score_se > 0
    out = capsys.readouterr().out
    assert "mean return of 7 fresh episodes; 1 seed" in out
    assert "mean return of the last training episodes; 1 seed" in out
    assert "fewer than" not in out


def test_a_folder_that_began_without_an_evaluation_goes_on_without(tmp_path: Path) -> None:
    words = f"--preset cartpole-steps --out {tmp_path}"
    now = request_for(words).experiment
    settings = {name: value for name, value in now.settings.items() if name != "evaluation"}
    label = "mean return of the last 100 training episodes"
    replace(now, settings=settings, score_label=label).write()
    again = request_for(words)
    assert again.settings.evaluation is None
    assert again.experiment.check_same_as_before()["score_label"] == label
    with pytest.raises(ConfigError, match=r"settings\.evaluation"):
        request_for(f"{words} --eval-episodes 100").experiment.check_same_as_before()


def test_a_score_by_an_evaluation_needs_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--score-by evaluation needs --eval-episodes N"):
        request_for(f"--preset cartpole --out {tmp_path} --score-by evaluation")
