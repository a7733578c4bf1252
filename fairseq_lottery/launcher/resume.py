"""Decide whether a killed run can resume bit-exactly from its own checkpoint; fairseq itself resumes it.

fairseq writes the first file of a save atomically, but copies it to the others, ``checkpoint_last.pt`` among them
(``fairseq/checkpoint_utils.py:save_checkpoint``), so a kill can leave a truncated copy. The file that was copied is
overwritten when the same epoch ends again.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from fairseq_lottery.checkpoint import CheckpointProgress
from fairseq_lottery.names import LAST
from fairseq_lottery.task import parse_rewind
from lottery_core.errors import CheckpointError
from lottery_core.experiments import Run, paths, point_folder

# With other values than these defaults, a checkpoint lacks something that the rest of the run depends on.
_NOT_KEPT: dict[str, dict[str, Any]] = {
    "checkpoint": {
        "patience": -1,
        "restore_file": LAST,
        "reset_dataloader": False,
        "reset_lr_scheduler": False,
        "reset_meters": False,
        "reset_optimizer": False,
        "optimizer_overrides": "{}",
        "no_save_optimizer_state": False,
    },
    "dataset": {"update_ordered_indices_seed": False},
    "optimization": {"stop_min_lr": -1.0, "stop_time_hours": 0.0},
}
_PLATEAU = "reduce_lr_on_plateau"  # steps at the end of an epoch, after the checkpoint was written


def why_not_resumable(run: Run, folder: Path, average: int = 1) -> str | None:
    """Say why a killed run cannot resume from its checkpoint; resuming is bit-exact for one process on a CPU.

    See :meth:`lottery_core.experiments.Framework.why_not_resumable`.

    :param run: the run that was killed
    :param folder: its folder
    :param average: how many epoch checkpoints will be averaged
    :returns: the reason, ``None`` if the run can resume
    """
    checkpoint = folder / LAST
    if not checkpoint.exists():
        return "it had no checkpoint yet"
    try:
        damaged = _damaged(checkpoint)
        progress = CheckpointProgress.of(checkpoint)
    except CheckpointError as error:
        return str(error)
    if damaged:
        return f"{checkpoint} is damaged ({damaged})"
    lost = None if run.has_ticket else _rewind_lost(progress, folder)
    return _not_kept(progress) or _too_few(progress, average) or lost


def _damaged(checkpoint: Path) -> str | None:
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            return archive.testzip()
    except Exception as error:  # a damaged file may raise anything
        raise CheckpointError(f"{checkpoint} was not written to its end ({error})") from error


def _not_kept(progress: CheckpointProgress) -> str | None:
    for section, defaults in _NOT_KEPT.items():
        for name, default in defaults.items():
            if progress.option(section, name, default) != default:
                return f"a checkpoint does not keep the state of --{name.replace('_', '-')}"
    if progress.option("lr_scheduler", "_name") == _PLATEAU:
        return f"a checkpoint does not keep the state of --lr-scheduler {_PLATEAU}"
    half = progress.option("common", "fp16") or progress.option("common", "bf16")
    # Only the run's options count: this may be the login node of a cluster, which has no GPU.
    if half and progress.option("common", "cpu") and not progress.full_precision:
        return "a checkpoint of --fp16 or --bf16 that version 0.1 wrote does not keep the fp32 masters"
    return None


def _too_few(progress: CheckpointProgress, average: int) -> str | None:
    kept = progress.option("checkpoint", "keep_last_epochs", -1)
    if average > 1 and (progress.option("checkpoint", "no_epoch_checkpoints", False) or 0 < kept < average):
        return f"it has not kept the checkpoints of epochs that --average {average} needs"
    return None


def _rewind_lost(progress: CheckpointProgress, folder: Path) -> str | None:
    if not (folder / paths.INIT).exists():
        return f"{paths.INIT} is missing"
    word = progress.option("task", "rewind_point")  # None if tickets continue from the trained weights
    candidates = (progress.option("task", "probe_points") or "").split()
    places = [] if word is None else [(word, folder)]
    places += [(word, point_folder(folder, number)) for number, word in enumerate(candidates, 1)]
    for word, place in places:
        point = parse_rewind(word)
        passed = progress.epoch > point.count if point.unit == "epochs" else progress.updates >= point.count
        if passed and not (place / paths.REWIND).exists():
            return f"{(place / paths.REWIND).relative_to(folder)} is missing"
    return None
