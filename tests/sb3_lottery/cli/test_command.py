"""The command ``sb3-lottery``: refused input in this process, experiments as real processes."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from stable_baselines3 import A2C

from lottery_core import Ticket, read_weights, schedule
from lottery_core.cli.lottery import main as lottery
from lottery_core.experiments.results import read_rows
from sb3_lottery.cli import command
from sb3_lottery.cli.command import main
from sb3_lottery.models.build import make_model
from sb3_lottery.models.settings import ModelSettings
from tests.conftest import Result
from tests.sb3_lottery.helpers import SMALL, assert_dead


def test_a_dry_run_marks_what_is_done_and_estimates_the_rest(
    small: tuple[Path, Result], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the runs that are done; else from the speed that was measured for a preset's game."""
    out, _ = small
    assert main([*shlex.split(SMALL), "--out", str(out), "--dry-run", "--rounds", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines[:-1:3] if not line.endswith(" (done)")] == [
        "seed 1 winning round 3",
        "seed 1 random round 3",
    ]
    assert re.fullmatch(
        r"7 runs, 5 done, 2 to do: about \d+ s with 1 at a time \(as long as the runs .* done\)", lines[-1]
    )
    plan = ["--preset", "cartpole", "--out", str(tmp_path / "x"), "--dry-run", "--rounds", "1"]
    assert main(plan) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "3 runs, 0 done, 3 to do: about 2 min with 1 at a time (at most, at the measured speed)"
    )


def test_a_length_that_whole_rollouts_exceed_is_told_before_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = "--algo ppo --env CartPole-v1 --rounds 0 --epochs 10 --n-envs 8 --rewind init --dry-run"
    for epoch, told in (("2000", True), ("3276", True), ("16384", False)):
        assert main([*shlex.split(options), "--epoch", f"timesteps:{epoch}", "--out", str(tmp_path / "x")]) == 0
        lines = [line for line in capsys.readouterr().err.splitlines() if "are asked for" in line]
        assert len(lines) == (told and epoch == "2000"), epoch
    assert main([*shlex.split(options), "--epoch", "timesteps:2000", "--out", str(tmp_path / "x")]) == 0
    assert (
        "20,000 timesteps are asked for and 32,768 will be trained: PPO collects whole rollouts of n_steps x "
        "environments = 16,384"
    ) in capsys.readouterr().err


KEPT = ("--rewind-point", "none")  # trained and earlier weights are one file


def test_an_experiment_from_one_command(small: tuple[Path, Result]) -> None:
    out, result = small
    assert result.returncode == 0, result.stderr
    rows = read_rows(out)
    assert len(rows) == 7
    pool = rows[0].pool
    assert {row.surviving for row in rows if row.round == 2} == {schedule(pool, 0.5, 2)[2]}
    assert all(row.returns == 10 and row.steps == 800 and row.score > 5 for row in rows)
    assert "stable-baselines3=" in rows[0].versions
    for row in rows[1:]:
        folder = out / row.run.folder
        ticket = Ticket.load(folder / "ticket.safetensors")
        assert ticket.digest == row.ticket
        assert ticket.origin.kind == row.kind
        assert_dead(dict(read_weights(folder / "model.zip").tensors), ticket.masks)
        assert list((folder / "tensorboard").rglob("events.*"))
    rewind = read_weights(out / "seed-1/dense/rewind.safetensors").tensors
    for kind in ("winning", "shuffled"):
        ticket = Ticket.load(out / f"seed-1/{kind}/round-02/ticket.safetensors")
        assert all(torch.equal(ticket.weights[name], ticket.masks.apply(rewind)[name]) for name in ticket.masks)
    assert "round  pruned  surviving  winning  random  shuffled  dense" in result.stdout
    assert f"picture: {out / 'curve.png'}" in result.stdout
    assert (out / "curve.png").stat().st_size > 5000
    assert "[7/7] " in result.stderr
    assert A2C.load(out / "seed-1/winning/round-02/model.zip").n_steps == 5


def test_the_same_command_again_repeats_nothing(small: tuple[Path, Result], capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = small
    before = {path: path.stat().st_mtime_ns for path in out.rglob("model.zip")}
    assert main([*shlex.split(SMALL), "--out", str(out)]) == 0
    assert "5 of 5 runs are done already" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in out.rglob("model.zip")} == before


def test_a_changed_configuration_is_refused_before_anything_is_done(
    small: tuple[Path, Result], capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = small
    assert main([*shlex.split(SMALL), "--out", str(out), "--epochs", "3", "--net-arch", "8"]) == 2
    line = capsys.readouterr().err
    assert "settings.epochs: 2 -> 3; settings.model.net_arch: 16 16 -> 8" in line
    assert len(line.splitlines()) == 1


def test_a_dry_run_prints_the_plan_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "x"
    assert main([*shlex.split(SMALL), "--out", str(out), "--dry-run", "--seeds", "1", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 * 10 + 1
    assert lines[-1] == "10 runs, 0 done, 10 to do"
    assert lines[3:5] == ["seed 1 winning round 1", f"  {out}/seed-1/winning/round-01"]
    assert lines[5].endswith(f"-m sb3_lottery.cli.worker {out}/seed-1/winning/round-01")
    assert not out.exists()


@pytest.mark.parametrize(
    ("more", "told", "cpus"),
    [
        ("--jobs 2", "4", None),
        ("--env-threads 3", "3", None),
        ("", None, None),
        ("--executor slurm --slurm gpus_per_node=1", None, "16"),  # and a job finds its own
        ("--executor slurm --slurm partition=gpu --env-threads 5", "5", "5"),
    ],
)
def test_threads_that_step_atari(
    more: str,
    told: str | None,
    cpus: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(command, "cores", lambda: 8)
    monkeypatch.setattr(command, "_preflight", lambda *_: [])
    words = f"--preset breakout --env-backend ale --out {tmp_path}/x --dry-run --rounds 0 {more}"
    assert main(shlex.split(words)) == 0
    printed = capsys.readouterr().out
    assert re.findall(r"--env-threads (\d+)", printed) == ([] if told is None else [told])
    assert re.findall(r"cpus_per_task=(\d+)", printed) == ([] if cpus is None else [cpus])


def test_a_rewind_point_before_the_first_update_is_told_before_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the plan as well; A2C's first update comes after n_steps x environments."""
    plan = [*shlex.split(SMALL), "--out", str(tmp_path / "x"), "--dry-run"]
    words = "lies before the first update, which "
    early = "A2C makes after 40 timesteps (n_steps x environments), so tickets would be rewound to the initialisation"
    more = ["--hyperparams", "n_steps:20"]
    for rewind, told in (("timesteps:40", early), ("timesteps:41", None), ("updates:1", None), ("init", None)):
        assert main([*plan, *more, "--rewind", rewind]) == 0
        err = capsys.readouterr().err
        assert (f"WARNING: the rewind point {rewind} {words}{early}" in err) == (told is not None), rewind
    dqn = ["--algo", "dqn", "--hyperparams", "learning_starts:100", "train_freq:4"]
    for rewind, told in (("timesteps:104", "DQN makes after 104 timesteps (learning_starts)"), ("timesteps:105", None)):
        assert main([*plan, *dqn, "--rewind", rewind]) == 0
        assert (words + (told or "") in capsys.readouterr().err) == (told is not None), rewind
    # Two environments have played an episode of at most 500 steps each.
    assert main([*plan, "--hyperparams", "n_steps:600", "--rewind", "episodes:2"]) == 0
    assert "the rewind point episodes:2 lies before the first update" in capsys.readouterr().err
    assert main([*plan, "--rewind", "timesteps:1", "--kinds", "no-rewind"]) == 0
    assert "first update" not in capsys.readouterr().err


BAD = {
    "algorithm": ("--algo a2", "unknown algorithm 'a2': did you mean a2c?"),
    "environment": ("--env CartPol-v1", "unknown environment 'CartPol-v1': did you mean CartPole-v"),
    "train_freq": ("--algo dqn --hyperparams train_freq:0", "hyperparameter train_freq must be at least 1, not 0"),
    "train_freq as a pair": (
        "--algo dqn --hyperparams \"train_freq:[0,'step']\"",
        "train_freq must be at least 1, not 0",
    ),
    "policy_delay": ("--algo td3 --hyperparams policy_delay:0", "hyperparameter policy_delay must be at least 1"),
    "half an epoch": (
        "--algo ppo --hyperparams n_epochs:2.5",
        "n_epochs must be a whole number (SB3's default is 10), not 2.5",
    ),
    "reward scale": ("--reward-scale nan", "--reward-scale must be a number other than 0, not nan"),
    "not a digit": ("--epoch timesteps:²", "--epoch 'timesteps:²' is not understood"),
    "rewind lr": ("--rewind lr", "--rewind lr: use --rewind-what lr"),
    "environment's version": ("--env CartPole-v7", "unknown environment 'CartPole-v7': did you mean CartPole-v0 or"),
    "kind": (
        "--kinds winning randm",
        "unknown kind of ticket 'randm': did you mean random, random-best or",
    ),
    "preset": ("--preset cartpol", "unknown preset 'cartpol': did you mean cartpole or"),
    "continuous actions": ("--algo dqn --env Pendulum-v1", "DQN needs a discrete action space; Pendulum-v1 has Box"),
    "near algorithm": ("--algo trop", "unknown algorithm 'trop': did you mean trpo?"),
    "no optimizer": ("--algo ars", "ARS trains without an optimizer: tickets need one; accepted: a2c, ppo"),
    "continuous actions, quantiles": ("--algo qrdqn --env Pendulum-v1", "QRDQN needs a discrete action space"),
    "continuous actions, masks": ("--algo maskableppo --env Pendulum-v1", "MaskablePPO needs a discrete action space"),
    **{
        f"discrete actions, {title}": (
            f"--algo {title.lower()}",
            f"{title} needs a continuous action space (Box); CartPole-v1 has Discrete(2)",
        )
        for title in ("SAC", "TD3", "DDPG", "TQC", "CrossQ")
    },
    "no action masks": ("--algo maskableppo", "MaskablePPO needs an environment with a method action_masks()"),
    "another algorithm's hyperparameter": ("--algo sac --hyperparams clip_range:1", "unknown hyperparameter of SAC"),
    "shared trunk": ("--algo sac --shared-trunk", "--shared-trunk is for algorithms with one optimizer, not for SAC"),
    "policy's argument": (
        "--algo qrdqn --policy-kwargs n_quantile:3",
        "unknown argument of the policy of QRDQN 'n_quantile': did you mean n_quantiles",
    ),
    "never an update": (
        "--algo dqn --hyperparams gradient_steps:0",
        "DQN with gradient_steps=0 never updates: set it to at least 1, or to -1",
    ),
    "no update": ("--algo dqn --hyperparams learning_starts:800", "DQN would not update once in timesteps:800"),
    "scope of a Q network": ("--algo dqn --scope actor", "scope 'actor': DQN has no actor and critic"),
    "rate": ("--prune-rate 1.2", "the prune rate must lie strictly between 0 and 1, not 1.2"),
    "rewind beyond the end": ("--rewind timesteps:900", "timesteps:900 lies beyond the training length timesteps:800"),
    "rewind in updates beyond the end": ("--rewind updates:81", "which has at most 80 updates"),
    "steps": ("--hyperparams n_steps:0", "hyperparameter n_steps must be at least 1, not 0"),
    "odd value": ("--hyperparams gamma:{[]:1}", "hyperparameter gamma must be a number"),
    "large seed": ("--seeds 1 5000000000", "must be below 2**32"),
    "device": ("--device cudda", "unknown device 'cudda'"),
    "no GPU": ("--device cuda:77", "--device cuda:77: torch sees"),
    "rewind's form": ("--rewind later", "--rewind 'later' is not understood; accepted: episodes:N, updates:N"),
    "rewind's unit": ("--rewind years:1", "unknown unit 'years'"),
    "eps of zero": ("--optimizer adam --optimizer-kwargs eps:0.0", "Adam with eps=0 turns pruned parameters into NaN"),
    "jobs": ("--jobs 0", "--jobs must be at least 1, not 0"),
    "executor": ("--executor cluster", "unknown executor 'cluster': did you mean slurm?"),
    "Slurm's option": (
        "--executor slurm --slurm partitio=gpu",
        "unknown Slurm option 'partitio': did you mean partition",
    ),
    "Slurm's options without it": ("--slurm partition=gpu", "--slurm is for --executor slurm"),
    "retries without Slurm": ("--retries 3", "--retries is for --executor slurm"),
    "rounds": ("--rounds -1", "rounds must not be negative"),
    "scope": ("--scope nothing", "scope 'nothing' matches none of the"),
    "one network": ("--scope actor --scope-shares separate", "this one has only 'actor': leave them 'together'"),
    "hyperparameter": ("--hyperparams n_step:4", "unknown hyperparameter of A2C 'n_step': did you mean n_steps"),
    "hyperparameter's form": ("--hyperparams n_steps", "'n_steps' is not of the form name:value"),
    "hyperparameter's value": (
        "--hyperparams gamma:high",
        "hyperparameter gamma must be a number (SB3's default is 0.99), not 'high'",
    ),
    "hyperparameter's range": ("--algo ppo --n-envs 1 --hyperparams n_steps:1", "cannot make PPO for CartPole-v1: "),
    "optimizer": ("--optimizer adams", "unknown optimizer 'adams': did you mean adam"),
    "DQN in episodes": ("--algo dqn --epoch episodes:5", "DQN explores for a share of all timesteps"),
    "fused": ("--fused", "--fused is for adam and adamw, not for rmsprop"),
    "missing": ("--out", "expected one argument"),
    "unknown option": ("--nets 3", "unrecognized arguments: --nets 3"),
    "environments": ("--n-envs 0", "--n-envs must be at least 1"),
    "net": ("--net-arch 0", "--net-arch needs"),
    "seeds with commas": ("--seeds 1,2,3", "separate values by spaces: --seeds 1 2 3"),
    "learn's length": ("--total-timesteps 1000", "the length of a run is --epoch timesteps:N times --epochs N"),
    "the zoo's length": (
        "--hyperparams n_timesteps:1e5",
        "the length of a run is --epoch timesteps:N times --epochs N",
    ),
    "a length without a unit": (
        "--epoch 1000",
        "--epoch 1000 has no unit: did you mean episodes:1000, updates:1000 or timesteps:1000?",
    ),
    "small images": (
        "--env tests.sb3_lottery.tiny:TinyImage-v0",
        "images of 7 x 7 x 3 are too small for the CNN (NatureCNN needs 36 x 36 pixels): --policy mlp",
    ),
    "seeds": ("--seeds -1", "seeds must not be negative"),
}


@pytest.mark.parametrize("case", BAD)
def test_each_bad_input_is_one_line_and_writes_nothing(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, words = BAD[case]
    try:
        status: object = main([*shlex.split(SMALL), "--out", str(tmp_path / "x"), *shlex.split(arguments)])
    except SystemExit as stopped:
        status = stopped.code
    shown = capsys.readouterr()
    assert status == 2, shown
    assert len(shown.err.splitlines()) == 1, shown.err
    assert words in shown.err
    assert list(tmp_path.iterdir()) == []


def test_required_options_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--algo", "a2c"]) == 2
    assert "--env, --out, --epoch are missing" in capsys.readouterr().err


def test_an_unwritable_folder(no_write: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*shlex.split(SMALL), "--out", str(no_write / "x")]) == 2
    assert "cannot write in" in capsys.readouterr().err


def test_a_full_disk_in_a_run_is_one_line(tmp_path: Path, call: Callable[..., Result]) -> None:
    # Files past the limit are refused by the kernel, as on a full disk: the ticket is the first one as large.
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, before[1]))
    try:
        result = call("sb3_lottery.cli", *shlex.split(SMALL), "--out", tmp_path / "x", "--quiet")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert "seed 1 dense failed: " in line
    assert "cannot write" in line
    assert "File too large" in line
    assert not list((tmp_path / "x").rglob("*.part"))


def test_dqn_from_the_command(tmp_path: Path, call: Callable[..., Result]) -> None:
    options = (
        "--algo dqn --env CartPole-v1 --rounds 1 --epoch timesteps:300 --epochs 2 --net-arch 16 --score-episodes 5"
    )
    more = "--hyperparams learning_starts:50 buffer_size:1000 --kinds winning --quiet"
    result = call("sb3_lottery.cli", *shlex.split(options), *shlex.split(more), "--out", tmp_path / "x")
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "x/seed-1/winning/round-01"
    ticket = Ticket.load(folder / "ticket.safetensors")
    assert not any("target" in name for name in ticket.masks)
    assert_dead(dict(read_weights(folder / "model.zip").tensors), ticket.masks)


def test_an_environment_of_a_module_in_the_current_folder(tmp_path: Path) -> None:
    """By the installed command, whose own folder is another."""
    code = "import gymnasium\nfrom gymnasium.envs.classic_control import CartPoleEnv\n"
    code += "gymnasium.register('Mine-v0', CartPoleEnv, max_episode_steps=20)\n"
    (tmp_path / "mine.py").write_text(code)
    command = Path(sys.executable).with_name("sb3-lottery")
    options = "--algo a2c --env mine:Mine-v0 --rounds 0 --epoch timesteps:100 --epochs 1 --rewind init --quiet --out x"
    done = subprocess.run([command, *options.split()], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "x/seed-1/dense/model.zip").exists()


def test_actor_and_critic_from_the_command(tmp_path: Path, call: Callable[..., Result]) -> None:
    options = (
        "--algo td3 --env tests.sb3_lottery.tiny:TinyContinuous-v0 --rounds 1 --epoch timesteps:30 --epochs 2 "
        "--net-arch 8 --hyperparams learning_starts:10 batch_size:8 buffer_size:100 action_noise:0.1 "
        "--policy-kwargs n_critics:1 --kinds winning --rewind updates:5 --scope actor --score-episodes 2 --quiet"
    )
    result = call("sb3_lottery.cli", *shlex.split(options), "--out", tmp_path / "x")
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "x/seed-1/winning/round-01"
    ticket = Ticket.load(folder / "ticket.safetensors")
    assert set(ticket.masks) == {f"actor.mu.{index}.{part}" for index in (0, 2) for part in ("weight", "bias")}
    assert "critic.qf1.0.weight" not in ticket.rest
    assert_dead(dict(read_weights(folder / "model.zip").tensors), ticket.masks)


@pytest.mark.parametrize(("algo", "network"), [("ppo", "policy_net"), ("sac", "actor")])
def test_actor_and_critic_in_lottery_prune(
    algo: str, network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a zip alone: not a regular expression, which the word would match in ``mlp_extractor``, too."""
    env = "CartPole-v1" if algo == "ppo" else "Pendulum-v1"  # an actor and a critic, each with its networks
    make_model(ModelSettings(algo, env, net_arch=(8,)), 1).save(tmp_path / "m.zip")
    files = [f"{tmp_path / 'm.zip'}", "--rewind", f"{tmp_path / 'm.zip'}", "--rate", "0.5", *KEPT]
    assert lottery(["prune", *files, "--scope", "actor", "-o", f"{tmp_path / 't'}"]) == 0
    ticket = Ticket.load(tmp_path / "t")
    names = [name for name in read_weights(tmp_path / "m.zip").names() if network in name or "action_net" in name]
    assert sorted(ticket.masks) == sorted(names)
    more = ["--previous", f"{tmp_path / 't'}", "-o", f"{tmp_path / 'next'}"]
    assert lottery(["prune", *files, *more, "--scope", "actor"]) == 0
    assert lottery(["prune", *files, *more, "--scope", "critic"]) == 2
    assert "--scope cannot change" in capsys.readouterr().err
    read_weights(tmp_path / "m.zip").save(tmp_path / "m.safetensors")
    plain = [f"{tmp_path / 'm.safetensors'}", "--rewind", f"{tmp_path / 'm.safetensors'}", "--rate", "0.5", *KEPT]
    assert lottery(["prune", *plain, "--scope", "actor", "-o", f"{tmp_path / 'p'}"]) == 0
    assert sorted(Ticket.load(tmp_path / "p").masks) == sorted(names)
    make_model(ModelSettings("dqn", "CartPole-v1", net_arch=(8,)), 1).save(tmp_path / "m.zip")
    assert lottery(["prune", *files, "--scope", "actor", "-o", f"{tmp_path / 'q'}"]) == 2
    assert "scope 'actor' matches none of the" in capsys.readouterr().err


def test_swapped_zips_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the timesteps that their JSON has; nothing is unpickled."""
    model = make_model(ModelSettings("a2c", "CartPole-v1", net_arch=(8,)), 1)
    for name in ("first", "second"):
        model.learn(20, reset_num_timesteps=False).save(tmp_path / f"{name}.zip")
    first, second = tmp_path / "first.zip", tmp_path / "second.zip"
    assert lottery(["prune", f"{first}", "--rewind", f"{second}", "--rate", "0.5", "-o", f"{tmp_path / 't'}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{second} was trained longer (40 timesteps) than {first} (20): " in line
    assert lottery(["prune", f"{second}", "--rewind", f"{first}", "--rate", "0.5", "-o", f"{tmp_path / 't'}"]) == 0


def test_an_agent_that_diverges_is_one_line(tmp_path: Path, call: Callable[..., Result]) -> None:
    words = "--algo a2c --env CartPole-v1 --epoch timesteps:400 --epochs 1 --rounds 1 --rewind init"
    more = "--hyperparams learning_rate:1e38 max_grad_norm:1e38 --quiet --out"
    result = call("sb3_lottery.cli", *shlex.split(f"{words} {more}"), tmp_path / "x")
    assert result.returncode == 1
    assert "nan" in result.stderr.lower()
    assert "Traceback" not in result.stderr
