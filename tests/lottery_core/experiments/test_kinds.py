"""Kinds that need something of an experiment, or of what an earlier version kept of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lottery_core import Ticket, Weights
from lottery_core.errors import ConfigError, DamagedError
from lottery_core.experiments import Experiment, Run, paths, prune_in_training
from tests.lottery_core.experiments.test_runner import here
from tests.lottery_core.toy import experiment


@pytest.mark.parametrize("rewind", ["none", "lr"])
def test_what_is_pruned_at_the_rewind_point_needs_one(rewind: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"the kind at-start needs a rewind point, and '{rewind}' sets none"):
        experiment(tmp_path, kinds=("at-start",), rewind=rewind)
    experiment(tmp_path, kinds=("shuffled",), rewind=rewind)


def test_old_folders_redraw_what_is_outside_and_new_ones_do_not(tmp_path: Path) -> None:
    """A folder without the entry was begun by a version that drew everything anew."""
    old, new = tmp_path / "old", tmp_path / "new"
    experiment(old, scope=(".*weight",), outside="fresh").write()
    assert "outside" not in json.loads((old / paths.EXPERIMENT).read_text())
    experiment(new, scope=(".*weight",)).write()
    assert [experiment(out, scope=(".*weight",)).outside for out in (old, new)] == ["fresh", "rewind"]
    assert [Experiment.load(out).outside for out in (old, new)] == ["fresh", "rewind"]
    with pytest.raises(ConfigError, match="outside: rewind -> fresh"):
        experiment(new, scope=(".*weight",), outside="fresh").check_same_as_before()
    assert "outside" not in experiment(tmp_path / "all").fixed(), "nothing is outside"


@pytest.mark.parametrize("outside", ["fresh", "rewind"])
def test_a_random_ticket_starts_outside_the_scope_where_asked(outside: str, tmp_path: Path) -> None:
    here(tmp_path, kinds=("random",), rounds=1, scope=(".*weight",), outside=outside)
    ticket = Ticket.load(tmp_path / "seed-1/random/round-01" / paths.TICKET)
    rewind = Weights.load(tmp_path / "seed-1/dense" / paths.REWIND).tensors
    assert all(torch.equal(value, rewind[name]) == (outside == "rewind") for name, value in ticket.rest.items())
    assert ticket.rest


def test_noise_repeats_the_whole_pruning_in_training_from_the_same_start(tmp_path: Path) -> None:
    rows, _ = here(tmp_path, kinds=("gradual",), rounds=1, repeat_noise=2)
    found = [Ticket.load(tmp_path / row.run.folder / paths.TICKET) for row in rows if row.kind == "gradual"]
    assert len(found) == 2
    assert found[0].masks != found[1].masks
    start = Weights.load(tmp_path / "seed-1/dense" / paths.INIT).tensors
    for ticket in found:
        assert ticket.masks.surviving == 193
        assert all(torch.equal(ticket.weights[name], ticket.masks.apply(start)[name]) for name in ticket.masks)


@pytest.mark.parametrize(("kind", "file"), [("gradual", paths.INIT), ("snip", paths.REWIND)])
def test_a_file_that_the_dense_run_did_not_keep_is_named(kind: str, file: str, tmp_path: Path) -> None:
    here(tmp_path, kinds=("winning",), rounds=1)
    (tmp_path / "seed-1/dense" / file).unlink()
    with pytest.raises(DamagedError, match=file) as caught:
        prune_in_training(tmp_path, Run(1, kind, 1))
    assert "\n" not in str(caught.value)
