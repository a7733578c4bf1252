"""``sb3-lottery --tickets-from``: from a game to another one with other observations and actions."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import torch

from lottery_core import Ticket, Weights
from lottery_core.experiments import Experiment, Run, paths
from lottery_core.experiments.results import read_rows
from sb3_lottery import find_tickets
from sb3_lottery.cli.command import main
from tests.conftest import Result
from tests.sb3_lottery.helpers import SMALL
from tests.sb3_lottery.tiny import make

ALONE = [f"mlp_extractor.{name}_net.0.weight" for name in ("policy", "value")] + [
    "action_net.weight",
    "action_net.bias",
]


def test_from_one_game_to_another(
    small: tuple[Path, Result], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there, _ = small
    words = shlex.split(SMALL.replace("CartPole-v1", "Acrobot-v1").replace("--rounds 2", "--rounds 1"))
    words[words.index("timesteps:400")] = "timesteps:600"  # an episode is up to 500 steps long
    words += ["--kinds", "transfer-values", "transfer-random", "--tickets-from", str(there), "--unmatched", "prune"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    told = capsys.readouterr()
    # Observations of 6 numbers instead of 4, and 3 actions instead of 2.
    pool, carried = 2 * (6 * 16 + 16 + 16 * 16 + 16) + 16 * 3 + 3 + 16 + 1, 2 * (16 + 16 * 16 + 16) + 16 + 1
    assert f"carried over: the masks of 8 of 12 tensors, {carried} of {pool} parameters (" in told.err
    assert "mlp_extractor.policy_net.0.weight ((16, 6) here, (16, 4) there)" in told.err
    assert f"masks of another experiment for {carried} of {pool} parameters" in told.out
    assert "the others are pruned here" in told.out
    source = Ticket.load(there / Run(1, "winning", 1).folder / paths.TICKET)
    rewind = Weights.load(tmp_path / "seed-1/dense" / paths.REWIND).tensors
    ticket = Ticket.load(tmp_path / Run(1, "transfer-values", 1).folder / paths.TICKET)
    assert set(ticket.masks) - set(ticket.origin.carried) == set(ALONE)
    for name in ticket.masks:
        values = rewind if name in ALONE else source.start()
        assert torch.equal(ticket.weights[name], values[name].masked_fill(~ticket.masks[name], 0)), name
    alone = 2 * 6 * 16 + 16 * 3 + 3
    assert sum(int(ticket.masks[name].sum()) for name in ALONE) == alone - round(0.5 * alone)
    rows = {row.kind: row for row in read_rows(tmp_path)}
    assert rows["transfer-random"].surviving == rows["transfer-values"].surviving == ticket.masks.surviving
    assert rows["transfer-random"].carried == carried


def test_what_is_missing_is_told_before_anything_is_written(
    small: tuple[Path, Result], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there, _ = small
    out = tmp_path / "x"
    words = [*shlex.split(SMALL), "--out", str(out), "--kinds", "transfer", "--tickets-from", str(there)]
    assert main([*words, "--rounds", "3"]) == 2
    assert "(it has rounds 01 to 02)" in capsys.readouterr().err
    assert main([*words, "--map", "$=.other"]) == 2
    assert "no tensor has a partner of its name and shape" in capsys.readouterr().err
    assert main([*shlex.split(SMALL), "--out", str(out), "--map", "a=b"]) == 2
    assert "--map is for tickets of another experiment: it needs --tickets-from RUN" in capsys.readouterr().err
    assert not out.exists()


def test_with_a_model_of_ones_own(tmp_path: Path) -> None:
    options = {"total_timesteps": 96, "rounds": 1, "seeds": 1, "progress": False, "rewind": "init", "floor": False}
    find_tickets(lambda seed: make("a2c", seed), tmp_path / "a", kinds="winning", **options)
    find_tickets(
        lambda seed: make("ppo", seed), tmp_path / "b", kinds="transfer", tickets_from=tmp_path / "a", **options
    )
    masks = [
        Ticket.load(tmp_path / out / Run(1, kind, 1).folder / paths.TICKET).masks
        for out, kind in (("a", "winning"), ("b", "transfer"))
    ]
    assert masks[0] == masks[1]


def test_a_string_is_one_change_of_names(tmp_path: Path) -> None:
    options = {"total_timesteps": 96, "rounds": 1, "seeds": 1, "progress": False, "rewind": "init", "floor": False}
    find_tickets(lambda seed: make("a2c", seed), tmp_path / "a", kinds="winning", **options)
    more = {"kinds": "transfer", "tickets_from": tmp_path / "a", "map": "nothing=x"}
    find_tickets(lambda seed: make("a2c", seed), tmp_path / "b", **more, **options)
    assert Experiment.load(tmp_path / "b").transfer["map"] == ["nothing=x"]
