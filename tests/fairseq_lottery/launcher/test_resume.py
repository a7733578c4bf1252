"""When a killed training may resume from its checkpoint, and when it has to restart."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fairseq_lottery.checkpoint import CheckpointProgress
from fairseq_lottery.launcher.resume import why_not_resumable
from fairseq_lottery.launcher.worker import _with_earlier
from lottery_core.experiments import paths
from lottery_core.experiments.graph.plan import Run, dense
from tests.fairseq_lottery.helpers import load

LAST = "checkpoint_last.pt"


@pytest.fixture
def folder(dense: Path, tmp_path: Path) -> Path:
    """Of a dense run of two epochs whose rewind point was the third update."""
    for name in (LAST, paths.INIT, paths.REWIND):
        shutil.copy(dense / name, tmp_path)
    return tmp_path


def change(folder: Path, how: Callable[[dict[str, Any]], object]) -> None:
    state = load(folder / LAST)
    how(state)
    torch.save(state, folder / LAST)


def test_a_whole_checkpoint_is_no_obstacle(folder: Path) -> None:
    assert why_not_resumable(dense(1), folder) is None
    progress = CheckpointProgress.of(folder / LAST)
    assert (progress.epoch, progress.batches, progress.at_end) == (3, 0, True)
    assert progress.seconds > 0


def test_earlier_processes_count_in_the_cost() -> None:
    """Their CPU time is not known: they are taken to have kept as many CPUs busy as the last one, at least one."""
    before = CheckpointProgress({}, 900, 3, 0, 3600.0, {})
    assert _with_earlier(10.0, 25.0, None) == (10.0, 25.0)
    assert _with_earlier(10.0, 25.0, before) == (3610.0, 25.0 + 2.5 * 3600)
    assert _with_earlier(10.0, 1.0, before) == (3610.0, 1.0 + 3600)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_part_of_a_checkpoint(share: float, folder: Path) -> None:
    whole = (folder / LAST).read_bytes()
    (folder / LAST).write_bytes(whole[: int(share * len(whole))])
    assert "checkpoint_last.pt was not written to its end" in (why_not_resumable(dense(1), folder) or "")


def test_a_hole_in_a_checkpoint(folder: Path) -> None:
    whole = bytearray((folder / LAST).read_bytes())
    middle = len(whole) // 2
    whole[middle : middle + 4096] = bytes(4096)
    (folder / LAST).write_bytes(whole)
    assert "checkpoint_last.pt is damaged" in (why_not_resumable(dense(1), folder) or "")


def test_something_else_by_that_name(folder: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, folder / LAST)
    assert "not a checkpoint of fairseq" in (why_not_resumable(dense(1), folder) or "")
    (folder / LAST).unlink()
    assert why_not_resumable(dense(1), folder) == "it had no checkpoint yet"


NOT_KEPT = {
    "--patience": ("checkpoint", "patience", 3),
    "--reset-optimizer": ("checkpoint", "reset_optimizer", True),
    "--no-save-optimizer-state": ("checkpoint", "no_save_optimizer_state", True),
    "--stop-min-lr": ("optimization", "stop_min_lr", 1e-9),
    "--lr-scheduler reduce_lr_on_plateau": ("lr_scheduler", "_name", "reduce_lr_on_plateau"),
    "--fp16 or --bf16": ("common", "bf16", True),
}


@pytest.mark.parametrize("flag", NOT_KEPT)
def test_what_a_checkpoint_does_not_keep(flag: str, folder: Path) -> None:
    section, name, value = NOT_KEPT[flag]
    change(folder, lambda state: state["cfg"][section].update({name: value}))
    assert flag in (why_not_resumable(dense(1), folder) or "")


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_is_judged_by_the_checkpoint_not_by_this_machine(
    precision: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A login node has no GPU, and a job that hit its time limit must go on from where it was."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    change(folder, lambda state: state["cfg"]["common"].update({precision: True, "cpu": False}))
    assert why_not_resumable(dense(1), folder) is None
    change(folder, lambda state: state["cfg"]["common"].update(cpu=True))
    assert "version 0.1" in (why_not_resumable(dense(1), folder) or "")
    kept = {"LotteryTranslationTask": {"ticket": "", "precision": {"scaler": {}}}}
    change(folder, lambda state: state["extra_state"].update(kept))
    assert why_not_resumable(dense(1), folder) is None


@pytest.mark.parametrize(
    ("point", "updates", "epoch", "passed"),
    [("update:3", 2, 1, False), ("update:3", 3, 1, True), ("epoch:2", 40, 2, False), ("epoch:2", 40, 3, True)],
)
def test_a_rewind_point_that_was_passed_must_be_there(
    point: str, updates: int, epoch: int, passed: bool, folder: Path
) -> None:
    def at(state: dict[str, Any]) -> None:
        state["cfg"]["task"]["rewind_point"] = point
        state["optimizer_history"][-1]["num_updates"] = updates
        state["extra_state"]["train_iterator"]["epoch"] = epoch

    change(folder, at)
    assert why_not_resumable(dense(1), folder) is None
    (folder / paths.REWIND).unlink()
    assert why_not_resumable(dense(1), folder) == (f"{paths.REWIND} is missing" if passed else None)
    assert why_not_resumable(Run(1, "winning", 1), folder) is None
    (folder / paths.INIT).unlink()
    assert why_not_resumable(dense(1), folder) == f"{paths.INIT} is missing"


@pytest.mark.parametrize(
    ("most", "last", "ended"), [(0, 3, False), (0, 2, True), (8, 0, True), (10**6, 0, False), (10**6, 2, True)]
)
def test_a_training_at_its_end_is_not_trained_on(most: int, last: int, ended: bool, folder: Path) -> None:
    """Resumed after ``--max-update``, fairseq would do one more update."""
    change(folder, lambda state: state["cfg"]["optimization"].update(max_update=most, max_epoch=last))
    assert CheckpointProgress.of(folder / LAST).at_end == ended
