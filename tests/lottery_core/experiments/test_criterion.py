"""An experiment's criterion: part of its configuration, in its tickets, rows and report; the default as in 0.1."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lottery_core import Ticket
from lottery_core.errors import ConfigError
from lottery_core.experiments import Experiment, paths
from lottery_core.experiments.progress import Progress
from lottery_core.experiments.runner import Runner
from lottery_core.pruning import GRADIENT
from lottery_core.reports.table import table
from tests.lottery_core.reports.test_report import row
from tests.lottery_core.toy import Here, Toy, experiment


@pytest.mark.parametrize("criterion", ["magnitude-layer", "magnitude-increase"])
def test_a_chain_with_another_criterion(criterion: str, tmp_path: Path) -> None:
    kinds = ("winning", "random", "at-start", "gradual", "snip")
    chosen = experiment(tmp_path, criterion=criterion, rounds=2, kinds=kinds)
    rows = Runner(chosen, Toy(), Here(tmp_path), Progress(quiet=True)).run()
    found = {row.kind: row.criterion for row in rows}
    # Nothing has grown yet at the rewind point itself, so at-start can rank there by magnitude alone.
    start = criterion if criterion == "magnitude-layer" else "magnitude"
    assert (found["dense"], found["winning"], found["random"]) == (criterion,) * 3
    assert (found["at-start"], found["snip"]) == (start, "gradient x weight")
    for kind in ("winning", "random", "at-start", "gradual"):
        ticket = Ticket.load(tmp_path / f"seed-1/{kind}/round-02" / paths.TICKET)
        assert ticket.origin.criterion == found[kind]
    masks = Ticket.load(tmp_path / "seed-1/at-start/round-02" / paths.TICKET).masks
    shares = [mask.float().mean().item() for mask in masks.values() if mask.numel() >= 32]
    assert (max(shares) - min(shares) < 0.02) == (start == criterion)
    assert Experiment.load(tmp_path).criterion == criterion
    others = ", ".join(kind for kind in ("at-start", "gradual") if found[kind] != criterion)
    assert f"criterion {criterion}{f' (not {others})' if others else ''}" in table(rows).splitlines()[0]
    assert f",{criterion}," in (tmp_path / paths.RESULTS).read_text()


def test_the_criterion_of_a_kind_that_has_no_other_stands_in_the_title() -> None:
    rows = [
        replace(row(kind, 1, 1.0), criterion="magnitude" if kind == "at-start" else "magnitude-increase")
        for kind in ("dense", "winning", "at-start")
    ]
    assert table(rows).splitlines()[0].endswith(", criterion magnitude-increase (not at-start)")
    assert table(rows[:2]).splitlines()[0].endswith(", criterion magnitude-increase")
    assert table([*rows[:2], replace(rows[2], kind="snip", criterion=GRADIENT)]).splitlines()[0].endswith("-increase")


def test_the_criterion_cannot_change_in_a_folder(tmp_path: Path) -> None:
    experiment(tmp_path, criterion="magnitude-layer").write()
    with pytest.raises(ConfigError, match="criterion: magnitude-layer -> magnitude"):
        experiment(tmp_path).check_same_as_before()
    experiment(tmp_path, criterion="magnitude-layer").check_same_as_before()


def test_the_default_is_what_earlier_folders_have(tmp_path: Path) -> None:
    chosen = experiment(tmp_path)
    chosen.write()
    assert "criterion" not in json.loads((tmp_path / paths.EXPERIMENT).read_text())
    assert "criterion" not in chosen.fixed()
    with pytest.raises(ConfigError, match="criterion: magnitude -> magnitude-layer"):
        experiment(tmp_path, criterion="magnitude-layer").check_same_as_before()


@pytest.mark.parametrize("rewind", ["none", "lr"])
def test_growth_needs_a_rewind_point(rewind: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"needs a rewind point, and '{rewind}' sets none"):
        experiment(tmp_path, criterion="magnitude-increase", rewind=rewind)


def test_unknown(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown criterion 'size'"):
        experiment(tmp_path, criterion="size")
