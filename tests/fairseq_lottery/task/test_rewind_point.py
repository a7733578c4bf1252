"""The weights at a rewind point: of this training and of this point, or the training does not go on."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from fairseq_lottery.task.beginning import Beginning
from fairseq_lottery.task.rewind_point import RewindPoint, points_of
from lottery_core.errors import ConfigError
from lottery_core.experiments import paths
from lottery_core.tickets import Weights, snapshot
from tests.fairseq_lottery import helpers
from tests.fairseq_lottery.helpers import ADAM, TRANSFORMER, TRANSLATION

LENGTH = 4  # updates of an epoch


def train(folder: Path, point: str, start: int, end: int, position: bool = True) -> None:
    """A dense run from one update to another, whose weights are the number of the update."""
    options = SimpleNamespace(save_dir=folder, max_update=99, max_epoch=0, rewind_point=point, probe_points=None)
    rewinding: RewindPoint = points_of(options, True)[0]
    model = nn.Linear(1, 1)

    def weights() -> Weights:
        return snapshot(model)

    rewinding.epoch_begins(start // LENGTH + 1, None)
    for done in range(start, end):
        with torch.no_grad():
            model.weight.fill_(done + 1)
        rewinding.before_update(done, weights)
        epoch, within = done // LENGTH + 1, (done + 1) % LENGTH
        at = Beginning(done + 1, {"epoch": epoch + (not within), "iterations_in_epoch": within})
        rewinding.after_update(done + 1, epoch, not within, weights, at if position else None)


def kept(folder: Path) -> float:
    return float(Weights.load(folder / paths.REWIND).tensors["weight"])


@pytest.mark.parametrize(("point", "other"), [("update:4", "update:5"), ("epoch:1", "epoch:2"), ("epoch:1", "init")])
def test_a_point_that_has_passed_is_not_taken_for_another(point: str, other: str, tmp_path: Path) -> None:
    train(tmp_path, point, 0, 9)
    train(tmp_path, point, 9, 10)
    assert kept(tmp_path) == 4
    with pytest.raises(ConfigError, match=r"has passed, at 9 updates, and .* has the weights after 4 updates"):
        train(tmp_path, other, 9, 10)
    assert kept(tmp_path) == 4
    (tmp_path / paths.REWIND).unlink()
    with pytest.raises(ConfigError, match="has passed, at 9 updates, and there is no"):
        train(tmp_path, point, 9, 10)


def test_where_the_position_is_not_known_the_weights_are_enough(tmp_path: Path) -> None:
    train(tmp_path, "update:4", 0, 9, position=False)
    assert not (tmp_path / paths.REWIND_COUNTS).exists()
    train(tmp_path, "update:4", 9, 10)


@pytest.mark.parametrize("start", [0, 6])
def test_what_an_earlier_training_left_is_removed(start: int, tmp_path: Path) -> None:
    """A training that ends before its point, new or resumed, has no rewind point."""
    train(tmp_path, "update:4", 0, 6)
    train(tmp_path, "update:8", start, start + 1)
    assert not (tmp_path / paths.REWIND).exists()
    assert not (tmp_path / paths.REWIND_COUNTS).exists()
    train(tmp_path, "update:8", start + 1, 9)
    assert kept(tmp_path) == 8


def test_fairseq_train_refuses_another_point(translation_data: Path, dense: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(dense, tmp_path / "dense")
    words = [*TRANSLATION, *TRANSFORMER, *ADAM, "--max-epoch", 3, "--rewind-point", "update:4"]
    line = helpers.refusal(helpers.train(translation_data, folder, *words, status=2))
    assert f"the rewind point updates:4 has passed, at 12 updates, and {folder / paths.REWIND} has the weights" in line


def test_a_skipped_step_at_the_end_of_an_epoch_is_no_update(tmp_path: Path) -> None:
    """Under ``--amp`` fairseq calls the task even then: the weights are written when the next epoch begins."""
    task: Any = helpers.bare_task(tmp_path, lambda: nn.Linear(1, 1), rewind_point="epoch:1", max_epoch=2)
    type(task).__bases__[1].optimizer_step = lambda *_, **__: None
    model = task.build_model(SimpleNamespace())
    optimizer = SimpleNamespace(scaler=torch.amp.GradScaler("cpu"), params=list(model.parameters()))
    state = {"epoch": 2, "iterations_in_epoch": 0}
    task._train_batches = SimpleNamespace(epoch=1, end_of_epoch=lambda: True, state_dict=lambda: state)
    for value, updates in ((float("inf"), None), (1.0, 8)):
        model.weight.grad = torch.full((1, 1), value)
        task.optimizer_step(optimizer, model, 7)
        counts = tmp_path / paths.REWIND_COUNTS
        assert (Beginning.beside(tmp_path / paths.REWIND).updates if counts.exists() else None) == updates
