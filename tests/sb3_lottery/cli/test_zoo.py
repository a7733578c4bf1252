"""rl_zoo3: its tuned hyperparameters as settings, and the callback in its own training command."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from lottery_core import Ticket, read_weights
from lottery_core.cli.lottery import main as lottery
from lottery_core.errors import ConfigError
from lottery_core.experiments.results import read_rows
from sb3_lottery.cli.command import main
from sb3_lottery.cli.zoo import _FILES, INSTALLED, _installed, zoo_entry
from sb3_lottery.models.algorithms import ALGORITHMS
from sb3_lottery.models.build import make_model
from sb3_lottery.models.parameters import optimizers_of
from sb3_lottery.models.settings import ModelSettings
from sb3_lottery.training.fingerprint import describe_model
from tests.conftest import Result
from tests.sb3_lottery.helpers import assert_dead, request_for

pytest.importorskip("rl_zoo3")


def settings_of(words: str) -> ModelSettings:
    return request_for(f"{words} --out nowhere").settings.model


def zoos_own(algo: str, env: str, folder: Path) -> Any:
    from rl_zoo3.exp_manager import ExperimentManager

    word = _FILES.get(algo, algo)
    manager = ExperimentManager(argparse.Namespace(), word, env, str(folder), eval_freq=-1, device="cpu", verbose=0)
    made = manager.setup_experiment()
    assert made is not None
    return made[0], manager


@pytest.mark.parametrize(
    ("algo", "env"),
    [
        ("ppo", "CartPole-v1"),
        ("ppo", "MountainCar-v0"),
        ("a2c", "Pendulum-v1"),
        ("a2c", "MountainCarContinuous-v0"),
        ("dqn", "CartPole-v1"),
        ("qrdqn", "Acrobot-v1"),
        ("trpo", "Pendulum-v1"),
        ("recurrentppo", "Acrobot-v1"),
        ("sac", "MountainCarContinuous-v0"),
        ("td3", "Pendulum-v1"),
        ("ddpg", "Pendulum-v1"),
        ("tqc", "Pendulum-v1"),
        ("crossq", "Pendulum-v1"),
    ],
)
def test_a_model_is_the_zoos_own(algo: str, env: str, tmp_path: Path) -> None:
    wanted, manager = zoos_own(algo, env, tmp_path)
    words = f"--zoo --algo {algo} --env {env} --env-backend gymnasium"
    # Where the zoo leaves the initialisation open, it is SB3's.
    open_ = "ortho_init" not in zoo_entry(algo, env).preset and ALGORITHMS[algo].on_policy
    found = make_model(settings_of(f"{words} --ortho-init" if open_ else words), 1)
    described, reference = describe_model(found), describe_model(wanted)
    for one in (described, reference):
        one.pop("policy_kwargs")  # what they make is compared instead: layers, start, optimizer
        one.pop("learning_rate")  # as is lr_schedule
        one["environment"] = [one["environment"][name] for name in ("n_envs", "id", "max_episode_steps")]
    assert described == reference
    assert str(found.policy) == str(wanted.policy)
    assert getattr(found.policy, "ortho_init", None) == getattr(wanted.policy, "ortho_init", None)
    for mine, its in zip(optimizers_of(found), optimizers_of(wanted), strict=True):
        assert (type(mine), mine.defaults) == (type(its), its.defaults)
    assert repr(getattr(found, "action_noise", None)) == repr(getattr(wanted, "action_noise", None))
    assert [model.get_vec_normalize_env() is None for model in (found, wanted)] == [not manager.normalize] * 2
    for name in ("norm_obs", "norm_reward", "clip_obs", "clip_reward", "gamma", "epsilon") if manager.normalize else ():
        assert getattr(found.get_vec_normalize_env(), name) == getattr(wanted.get_vec_normalize_env(), name), name
    length = settings_length(words)
    assert length == manager.n_timesteps // 20 * 20


def settings_length(words: str) -> int:
    length = request_for(f"{words} --out nowhere").settings.training.length
    assert length.unit == "timesteps"
    return length.count


def test_every_entry_of_the_zoo_is_understood_or_refused_by_name() -> None:
    understood = 0
    refused: list[str] = []
    for algo in ALGORITHMS:
        try:
            games = yaml.safe_load(_installed(algo).read_text())
        except ConfigError:
            continue
        for game in games:
            env = "PongNoFrameskip-v4" if game == "atari" else game
            try:
                preset = dict(zoo_entry(algo, env).preset)
                layers = preset.pop("net_arch")
                known = {name: value for name, value in preset.items() if name not in ("epoch", "epochs")}
                ModelSettings(**known, net_arch=None if layers is None else tuple(layers))
                understood += 1
            except ConfigError as error:
                refused.append(str(error))
    assert understood >= 220
    assert len(refused) <= 40
    # Wrappers of single games, hindsight replay, noise of Ornstein and Uhlenbeck, a policy that SB3 refuses, too.
    words = ("env_wrapper", "replay_buffer_class,", "noise_type ornstein", "unknown policy of RecurrentPPO")
    assert [line for line in refused if not any(word in line for word in words)] == []


def test_options_override_the_zoo_and_a_file_of_ones_own_will_do(tmp_path: Path) -> None:
    found = settings_of("--zoo --algo ppo --env CartPole-v1 --n-envs 2 --hyperparams n_steps:64 --net-arch 8 8")
    assert (found.n_envs, found.net_arch, found.hyperparams["n_steps"]) == (2, (8, 8), 64)
    assert found.hyperparams["learning_rate"] == "lin_0.001"
    assert found.activation == "tanh"
    found = settings_of("--zoo --algo trpo --env ReacherBulletEnv-v0 --net-arch 8 --policy-kwargs use_expln:true")
    assert found.net_arch == (8,)
    assert "net_arch" not in found.policy_kwargs
    assert found.policy_kwargs["use_expln"] is True
    assert found.policy_kwargs["log_std_init"] < 0
    found = settings_of("--zoo --algo trpo --env ReacherBulletEnv-v0")
    assert found.policy_kwargs["net_arch"] == {"pi": [256, 256], "vf": [256, 256]}
    found = settings_of("--zoo --algo ppo --env MountainCarContinuous-v0 --normalize clip_obs:5.0 norm_reward:false")
    assert found.normalize == {"clip_obs": 5.0, "norm_reward": False}
    file = tmp_path / "mine.yml"
    text = "dict(net_arch=dict(pi=[16], vf=[]), activation_fn=nn.ELU, optimizer_class=th.optim.SGD, ortho_init=True)"
    file.write_text(yaml.dump({"CartPole-v1": {"policy": "MlpPolicy", "n_timesteps": 400, "policy_kwargs": text}}))
    found = settings_of(f"--zoo {file} --algo ppo --env CartPole-v1")
    assert (found.activation, found.optimizer, found.ortho_init, found.n_envs) == ("elu", "sgd", True, 1)
    policy: Any = make_model(found, 1).policy
    assert policy.mlp_extractor.policy_net[0].out_features == 16
    assert not len(policy.mlp_extractor.value_net)


def test_atari_is_the_zoos_up_to_lives() -> None:
    entry = zoo_entry("ppo", "BreakoutNoFrameskip-v4")
    assert entry.preset["clip_reward"]
    assert entry.preset["hyperparams"]["learning_rate"] == "lin_2.5e-4"
    assert any("whole game" in note for note in entry.notes)
    length = "10,000,000 timesteps a run, as in the zoo: a shorter --epoch timesteps:N, or fewer --epochs, shortens it"
    assert length in entry.notes
    assert "as in the default of dqn.yml" in zoo_entry("dqn", "Nobodys-v0").notes[0]
    assert all("ortho_init" not in note for note in zoo_entry("dqn", "CartPole-v1").notes)


BAD: dict[str, tuple[str, str]] = {
    "no algorithm": ("--zoo --env CartPole-v1", "--zoo needs --algo"),
    "both": ("--zoo --preset cartpole --algo a2c --env CartPole-v1", "--preset and --zoo both give the settings"),
    "no such game": ("--zoo FILE --algo ppo --env CartPol-v1", "did you mean CartPole-v1"),
    "none for it": ("--zoo --algo maskableppo --env CartPole-v1", "rl_zoo3 has no hyperparameters for maskableppo"),
    "ars": ("--zoo --algo ars --env CartPole-v1", "ARS trains without an optimizer"),
    "no such file": ("--zoo nothing.yml --algo ppo --env CartPole-v1", "cannot read nothing.yml"),
    "code": ("--zoo FILE --algo ppo --env Code-v0", "is not a plain value"),
    "a wrapper": ("--zoo FILE --algo ppo --env Wrapped-v0", "env_wrapper for Wrapped-v0, for which sb3-lottery has no"),
    "no length": (
        "--zoo FILE --algo ppo --env Endless-v0",
        "cannot read the settings of Endless-v0: KeyError: 'n_timesteps'",
    ),
    "a policy": ("--zoo FILE --algo ppo --env Linear-v0", "unknown policy of PPO 'LinearPolicy'"),
    "a list": ("--zoo LIST --algo ppo --env CartPole-v1", "not a file of hyperparameters"),
    "normalizer": ("--algo ppo --env CartPole-v1 --normalize norm_ob:True", "did you mean norm_obs"),
    "schedule": ("--algo ppo --env CartPole-v1 --hyperparams learning_rate:lin_x", "a schedule is lin_X"),
    "not scheduled": ("--algo ppo --env CartPole-v1 --hyperparams gamma:lin_1", "gamma takes no schedule"),
    "episodes": (
        "--algo ppo --env CartPole-v1 --hyperparams learning_rate:lin_1e-3 --epoch episodes:9",
        "the schedule of learning_rate follows the timesteps: give the length in timesteps, not episodes",
    ),
    "a word for a flag": ("--algo ppo --env CartPole-v1 --normalize norm_obs:no", "SB3's default is True"),
    "a word for a number": ("--algo ppo --env CartPole-v1 --normalize clip_obs:abc", "SB3's default is 10.0"),
    "no number": ("--algo ppo --env CartPole-v1 --hyperparams target_kl:abc", "target_kl must be a number"),
    "value clip": (
        "--algo ppo --env CartPole-v1 --hyperparams clip_range_vf:lin_0.2 --epoch episodes:9",
        "the schedule of clip_range_vf follows the timesteps",
    ),
    "episodes of several": (
        "--algo dqn --env CartPole-v1 --n-envs 2 --hyperparams learning_starts:10 \"train_freq:[1,'episode']\"",
        "DQN with train_freq in episodes takes one environment, not 2",
    ),
    "layers": ("--algo ppo --env CartPole-v1 --policy-kwargs net_arch:[8]", "for a list of layers use --net-arch"),
    "memory": ("--algo dqn --env CartPole-v1 --hyperparams buffer_size:1000000000000", "cannot make DQN"),
}


@pytest.mark.parametrize("case", BAD)
def test_each_bad_input_is_one_line(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words, line = BAD[case]
    row = {"policy": "MlpPolicy", "n_timesteps": 400}
    file, empty = tmp_path / "mine.yml", tmp_path / "list.yml"
    games = {
        "CartPole-v1": row,
        "Code-v0": {**row, "policy_kwargs": "dict(net_arch=__import__('os').getcwd())"},
        "Wrapped-v0": {**row, "env_wrapper": ["my.Wrapper"]},
        "Endless-v0": {"policy": "MlpPolicy"},
        "Linear-v0": {**row, "policy": "LinearPolicy"},
    }
    file.write_text(yaml.dump(games))
    empty.write_text("[1, 2]")
    words = words.replace("FILE", str(file)).replace("LIST", str(empty))
    common = [] if "--zoo" in words else ["--epoch", "timesteps:400"]
    assert main([*common, *shlex.split(words), "--out", str(tmp_path / "x")]) == 2
    shown = capsys.readouterr().err
    assert len(shown.splitlines()) == 1, shown
    assert line in shown
    assert not (tmp_path / "x").exists()


def test_without_rl_zoo3_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install rl_zoo3"):
        zoo_entry("ppo", "CartPole-v1", INSTALLED)


@pytest.mark.slow
def test_an_experiment_with_the_zoos_normalization(
    tmp_path: Path, call: Callable[..., Result], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x"
    more = "--n-envs 2 --epoch timesteps:400 --epochs 2 --rounds 1 --eval-episodes 2 --score-episodes 3 --no-floor"
    result = call(
        "sb3_lottery.cli",
        *shlex.split(f"--zoo --algo ppo --env MountainCar-v0 {more}"),
        "--out",
        out,
        timeout=900,
    )
    assert result.returncode == 0, result.stderr
    assert "PPO on MountainCar-v0 as in ppo.yml of rl_zoo3" in result.stderr
    rows = read_rows(out)
    assert [row.kind for row in rows] == ["dense", "winning", "random"]
    assert all(row.score == -200 and -200 <= row.eval_score < -80 for row in rows)  # true returns, not normalised
    folder = out / "seed-1/winning/round-01"
    ticket = Ticket.load(folder / "ticket.safetensors")
    assert_dead(dict(read_weights(folder / "model.zip").tensors), ticket.masks)
    inner = DummyVecEnv([lambda: __import__("gymnasium").make("MountainCar-v0")])
    statistics = VecNormalize.load(str(folder / "vecnormalize.pkl"), inner)
    # One more: SB3 counts the first observations, too, and an evaluation adds none.
    assert statistics.obs_rms.count == pytest.approx(rows[1].steps + 2, abs=0.01)
    assert main(["play", str(out), "--deterministic", "-o", str(tmp_path / "film.gif")]) == 0
    assert "return -" in capsys.readouterr().out


def train_with_zoo(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """``python -m rl_zoo3.train`` as its users call it; PPO on CartPole with 16-16 units, 512 steps."""
    params = ["n_envs:2", "n_steps:32", "batch_size:32", "n_timesteps:512"]
    params += ["policy_kwargs:dict(net_arch=[16,16],ortho_init=False)"]
    command = [sys.executable, "-m", "rl_zoo3.train", "--algo", "ppo", "--env", "CartPole-v1", "-f", str(folder)]
    command += ["--eval-freq", "-1", "--device", "cpu", "--seed", "3", *words]
    if "-params" in command:
        command += params
    elif "--conf-file" not in command:
        command += ["-params", *params]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


@pytest.mark.slow
def test_the_callback_in_the_zoos_own_training(tmp_path: Path) -> None:
    """Two checkpoints of the zoo are enough for a ticket; the zoo trains it, told on its command line or by YAML."""
    dense = train_with_zoo(tmp_path, "--save-freq", "128", "-params")
    assert dense.returncode == 0, dense.stderr
    run = tmp_path / "ppo/CartPole-v1_1"
    ticket_file = tmp_path / "round-01.safetensors"
    words = [run / "CartPole-v1.zip", "--rewind", run / "rl_model_128_steps.zip", "--rate", "0.6", "-o", ticket_file]
    assert lottery(["prune", *map(str, words)]) == 0
    ticket = Ticket.load(ticket_file)

    callback = f"callback:[{{'sb3_lottery.LotteryCallback': {{'ticket': '{ticket_file}', 'verbose': 1}}}}]"
    told = train_with_zoo(tmp_path, "-params", callback)
    assert told.returncode == 0, told.stderr
    assert "training a winning ticket, round 1: pruned 60.0%" in told.stdout
    file = tmp_path / "mine.yml"
    row = {
        **yaml.safe_load(_installed("ppo").read_text())["CartPole-v1"],
        "callback": [{"sb3_lottery.LotteryCallback": {"ticket": str(ticket_file), "verbose": 1}}],
        "n_envs": 2,
        "n_steps": 32,
        "batch_size": 32,
        "n_timesteps": 512,
        "policy_kwargs": "dict(net_arch=[16,16],ortho_init=False)",
    }
    file.write_text(yaml.dump({"CartPole-v1": row}))
    written = train_with_zoo(tmp_path, "--conf-file", str(file))
    assert written.returncode == 0, written.stderr

    states = [dict(read_weights(tmp_path / f"ppo/CartPole-v1_{i}/CartPole-v1.zip").tensors) for i in (2, 3)]
    for state in states:
        assert_dead(state, ticket.masks)
        assert any(not torch.equal(state[name], ticket.weights[name]) for name in ticket.masks)
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert PPO.load(tmp_path / "ppo/CartPole-v1_2/CartPole-v1.zip").num_timesteps == 512
