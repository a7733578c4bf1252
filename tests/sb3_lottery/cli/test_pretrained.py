"""``sb3-lottery --from MODEL.zip``, and ``find_tickets`` with a function that loads: where each kind starts."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest
import torch
from stable_baselines3 import A2C
from stable_baselines3.common.base_class import BaseAlgorithm

from lottery_core import Ticket, Weights, read_weights
from lottery_core.experiments import Run, dense, paths
from sb3_lottery import find_tickets
from sb3_lottery.cli.command import main
from sb3_lottery.models import Pretrained, make_model, weights_of
from tests.conftest import Result
from tests.sb3_lottery.helpers import SMALL, request_for
from tests.sb3_lottery.tiny import make


def ticket(out: Path, kind: str) -> Ticket:
    return Ticket.load(out / Run(1, kind, 1).folder / paths.TICKET)


def starts_at(found: Ticket, weights: Weights) -> bool:
    return all(torch.equal(found.weights[name], found.masks.apply(weights.tensors)[name]) for name in found.masks)


def test_a_chain_from_a_trained_model(
    small: tuple[Path, Result], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = tmp_path / "trained.zip"
    shutil.copy(small[0] / dense(1).folder / "model.zip", trained)
    out = tmp_path / "x"
    words = [*shlex.split(SMALL), "--rounds", "1", "--from", str(trained), "--out", str(out), "--rewind", "init"]
    assert main([*words, "--kinds", "winning", "random", "shuffled", "--jobs", "2"]) == 0
    pretrained = read_weights(trained).tensors
    start = Weights.load(out / dense(1).folder / paths.INIT)
    assert all(torch.equal(value, pretrained[name]) for name, value in start.tensors.items())
    assert starts_at(ticket(out, "winning"), start)
    assert starts_at(ticket(out, "shuffled"), start)
    fresh = weights_of(make_model(request_for(words).settings.model, Run(1, "random", 1).control_seed))
    assert starts_at(ticket(out, "random"), fresh), "random tickets are drawn anew, not from the trained model"
    # The same file gives the same experiment, another one does not.
    assert main([*words, "--dry-run"]) == 0
    shutil.copy(small[0] / Run(1, "random", 1).folder / "model.zip", trained)
    assert main([*words, "--dry-run"]) == 2
    assert "holds an experiment of another configuration (settings.start.sha256: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kwargs", "options", "line"),
    [
        ({}, [], "has the activation Tanh, and this network ReLU: give --activation tanh"),
        ({}, ["--activation", "tanh"], None),
        ({"activation_fn": torch.nn.SiLU}, [], "has the activation SiLU, and this network ReLU"),
        (
            {"activation_fn": torch.nn.ReLU},
            ["--activation", "tanh"],
            "ReLU, and this network Tanh: give --activation relu",
        ),
        ({"activation_fn": torch.nn.ReLU}, [], None),
    ],
)
def test_the_activation_must_be_the_same(
    kwargs: dict, options: list[str], line: str | None, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Its weights fit a network of another activation, too, which acts differently."""
    A2C("MlpPolicy", "CartPole-v1", policy_kwargs={"net_arch": [16, 16], **kwargs}).save(tmp_path / "trained.zip")
    words = [*shlex.split(SMALL), "--out", str(tmp_path / "x"), "--from", str(tmp_path / "trained.zip"), *options]
    assert main([*words, "--dry-run"]) == (0 if line is None else 2)
    if line is not None:
        assert line in capsys.readouterr().err


def test_what_cannot_be_started_from(small: tuple[Path, Result], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    trained = small[0] / dense(1).folder / "model.zip"
    words = [*shlex.split(SMALL), "--out", str(tmp_path / "x"), "--from", str(trained)]
    assert main([*words, "--net-arch", "8", "8"]) == 2
    assert "different architectures: " in capsys.readouterr().err
    assert main([*words[:-1], str(tmp_path / "no.zip")]) == 2
    assert "--from: cannot read " in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("algo", ["dqn", "sac", "ppo"])
def test_target_networks_start_from_it_too(algo: str, tmp_path: Path) -> None:
    trained, model = make(algo, seed=1), make(algo, seed=2)
    trained.save(tmp_path / "model.zip")
    Pretrained.of(tmp_path / "out", tmp_path / "model.zip").load_into(model, tmp_path / "out")
    names = dict(model.policy.state_dict())
    wanted = dict(trained.policy.state_dict())
    assert names.keys() == wanted.keys()
    assert all(torch.equal(value, wanted[name]) for name, value in names.items())


def test_with_a_function_that_loads_random_is_shuffled(tmp_path: Path) -> None:
    """Its fresh values are those that the function gives: the trained ones."""
    trained = make("a2c", seed=5)
    trained.learn(60)
    trained.save(tmp_path / "trained.zip")

    def load(seed: int) -> BaseAlgorithm:
        return A2C.load(tmp_path / "trained.zip", env=make("a2c", seed).env, seed=seed)

    options = {"total_timesteps": 96, "rounds": 1, "seeds": 1, "progress": False, "rewind": "init", "floor": False}
    find_tickets(load, tmp_path / "x", kinds=("winning", "random", "shuffled", "rewound-dense"), **options)
    start = weights_of(trained)
    for kind in ("winning", "random", "shuffled"):
        assert starts_at(ticket(tmp_path / "x", kind), start), kind
    ends = [read_weights(tmp_path / "x" / run.folder / "model.zip") for run in (dense(1), Run(1, "rewound-dense", 0))]
    assert all(torch.equal(value, ends[1].tensors[name]) for name, value in ends[0].tensors.items()), (
        "the dense run begins with new optimizer state, as tickets do"
    )
    assert ticket(tmp_path / "x", "random").masks.survivors() == ticket(tmp_path / "x", "winning").masks.survivors()


def test_frozen_parameters_stay_out_of_the_pool_of_what_trains(tmp_path: Path) -> None:
    def frozen(seed: int) -> BaseAlgorithm:
        model = make("a2c", seed)
        for name, parameter in model.policy.named_parameters():
            parameter.requires_grad = ".0." not in name
        return model

    options = {"total_timesteps": 96, "rounds": 1, "seeds": 1, "progress": False, "rewind": "init", "floor": False}
    find_tickets(frozen, tmp_path / "x", kinds="winning", scope="trainable", **options)
    found = ticket(tmp_path / "x", "winning")
    first = [name for name in weights_of(frozen(1)).tensors if ".0." in name]
    assert first
    assert set(first) <= set(found.rest)
    trained = read_weights(tmp_path / "x" / Run(1, "winning", 1).folder / "model.zip").tensors
    assert all(torch.equal(trained[name], found.rest[name]) for name in first)


def test_the_file_may_move(small: tuple[Path, Result], tmp_path: Path) -> None:
    """It is known by its digest; its place is where the dense run reads it."""
    trained, moved, out = tmp_path / "base.zip", tmp_path / "d" / "base.zip", tmp_path / "x"
    shutil.copy(small[0] / dense(1).folder / "model.zip", trained)
    words = [*shlex.split(SMALL), "--rounds", "0", "--out", str(out), "--rewind", "init", "--from"]
    request_for([*words, str(trained)]).experiment.write()
    moved.parent.mkdir()
    shutil.move(trained, moved)
    assert main([*words, str(moved), "--dry-run"]) == 0
    assert main([*words, str(moved)]) == 0
    start = Weights.load(out / dense(1).folder / paths.INIT)
    assert all(torch.equal(value, read_weights(moved).tensors[name]) for name, value in start.tensors.items())
    shutil.move(moved, trained)
    assert main([*words, str(trained), "--seeds", "2"]) == 0
