"""Networks of an experiment: survivors of each in the round's line, warnings, and the scope shares of a folder."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from lottery_core import Ticket
from lottery_core.dialects import Dialect, registry
from lottery_core.errors import ConfigError
from lottery_core.experiments import Experiment, paths, read_rows
from lottery_core.experiments.progress import Progress, percents
from lottery_core.experiments.runner import Runner
from lottery_core.reports.table import table
from lottery_core.tickets import networks_of
from tests.lottery_core.toy import Here, Toy, experiment

ROW = Dialect("halves", "Halves", networks=lambda names: {"front": (r"^[02]\.",), "back": (r"^4\.",)})


@pytest.fixture
def halves(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The toy's model has two networks."""
    monkeypatch.setattr(registry, "_BUILT_IN", (ROW, *registry._BUILT_IN))
    registry.every.cache_clear()
    yield
    registry.every.cache_clear()


@pytest.mark.usefixtures("halves")
def test_survivors_by_network_are_in_the_line_of_a_round(tmp_path: Path) -> None:
    shown = io.StringIO()
    rows = Runner(experiment(tmp_path, rounds=2), Toy(), Here(tmp_path), Progress(shown)).run()
    (row,) = [row for row in rows if row.kind == "winning" and row.round == 2]
    ticket = Ticket.load(tmp_path / row.run.folder / paths.TICKET)
    front, back = networks_of(ticket.masks, ticket.rest)
    assert row.networks == f"front={front.surviving}/{front.pool} back={back.surviving}/{back.pool}"
    words = f"(front {front.surviving / front.pool:.1%}, back {back.surviving / back.pool:.1%})"
    assert percents(row).endswith(words)
    assert f"winning round 2: {percents(row)}, score" in shown.getvalue()
    assert [row.networks for row in rows if row.kind == "dense"] == [""]
    assert read_rows(tmp_path) == rows


def test_of_one_network_the_line_has_no_more_than_before(tmp_path: Path) -> None:
    rows = Runner(experiment(tmp_path, rounds=1), Toy(), Here(tmp_path), Progress(quiet=True)).run()
    assert {row.networks for row in rows} == {""}
    assert percents(rows[-1]).endswith("%")


def test_a_starved_network_is_warned_of_when_its_run_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def starve(model: nn.Sequential) -> nn.Sequential:
        with torch.no_grad():
            model[0].weight[:, 1:] *= 1e-9
        return model

    from tests.lottery_core import toy

    made = toy.mlp
    monkeypatch.setattr(toy, "mlp", lambda seed: starve(made(seed)))
    chosen = experiment(tmp_path, rounds=1, kinds=("winning",), settings={"lr": 1e-7, "steps": 1})
    shown = io.StringIO()
    Runner(chosen, Toy(), Here(tmp_path), Progress(shown)).run()
    assert "WARNING: seed 1 winning round 1: only 1 of the 4 inputs of the model still" in shown.getvalue()


@pytest.mark.usefixtures("halves")
def test_separate_shares_of_a_chain(tmp_path: Path) -> None:
    chosen = experiment(tmp_path, rounds=2, scope_shares="separate")
    rows = Runner(chosen, Toy(), Here(tmp_path), Progress(quiet=True)).run()
    for row in rows:
        assert row.scope_shares == "separate"
        if row.kind != "dense":
            ticket = Ticket.load(tmp_path / row.run.folder / paths.TICKET)
            assert ticket.origin.scope_shares == "separate"
            for network in networks_of(ticket.masks, ticket.rest):
                assert network.surviving == pytest.approx(network.pool * row.surviving_fraction, abs=1)
    assert Experiment.load(tmp_path).scope_shares == "separate"
    assert "networks pruned separately" in table(rows).splitlines()[0]


def test_the_shares_cannot_change_in_a_folder_and_the_default_is_left_out(tmp_path: Path) -> None:
    chosen = experiment(tmp_path)
    chosen.write()
    assert "scope_shares" not in json.loads((tmp_path / paths.EXPERIMENT).read_text())
    with pytest.raises(ConfigError, match="scope_shares: together -> separate"):
        experiment(tmp_path, scope_shares="separate").check_same_as_before()
    with pytest.raises(ConfigError, match="unknown scope shares 'apart'"):
        experiment(tmp_path, scope_shares="apart")
