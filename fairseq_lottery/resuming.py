"""Whether a killed training can go on from its own checkpoint to the same bits; fairseq itself does the going on.

fairseq writes the first file of a save beside and renames it, but copies the others, ``checkpoint_last.pt`` among
them (``fairseq/checkpoint_utils.py:save_checkpoint``): a kill leaves a part of it. What the copy was made of is
overwritten when the same epoch ends again.
"""

from __future__ import annotations

import zipfile
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fairseq_lottery.rewinding import parse_rewind
from fairseq_lottery.scoring import LAST
from lottery_core.allowed import allowing
from lottery_core.checkpoints import unreadable
from lottery_core.errors import CheckpointError
from lottery_core.kinds import DENSE
from lottery_core.layout import INIT, REWIND
from lottery_core.plan import Run

# Options under which a checkpoint does not hold all that decides the rest of the training, with their defaults.
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
TICKET = "ticket"  # in a checkpoint, beside the task's state: the digest of the ticket that was trained
_PLATEAU = "reduce_lr_on_plateau"  # its step at the end of an epoch comes after the checkpoint


@dataclass(frozen=True)
class Place:
    """How far a checkpoint of fairseq is.

    :param cfg: the training's configuration
    :param updates: done since the start
    :param epoch: the one that goes on or comes next, from 1
    :param batches: of that epoch that are done
    :param seconds: of training since the start
    :param tickets: task's class -> digest of the ticket that it trained, empty for a dense run
    """

    cfg: Mapping[str, Any]
    updates: int
    epoch: int
    batches: int
    seconds: float
    tickets: Mapping[str, str]

    @classmethod
    def of(cls, checkpoint: Path) -> Place:
        """Read it; the tensors stay on the disk.

        :raises CheckpointError: it is not a training's checkpoint, or a part of one
        """
        try:
            with allowing():
                state = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
            batches = state["extra_state"]["train_iterator"]
            return cls(
                state["cfg"],
                int(state["optimizer_history"][-1]["num_updates"]),
                int(batches["epoch"]),
                int(batches["iterations_in_epoch"]),
                float(state["extra_state"]["previous_training_time"]),
                {
                    name: value[TICKET]
                    for name, value in state["extra_state"].items()
                    if isinstance(value, dict) and TICKET in value
                },
            )
        except Exception as error:  # a damaged file can raise anything
            raise unreadable(error, str(checkpoint), "checkpoint of fairseq") from error

    def option(self, section: str, name: str, default: Any = None) -> Any:
        """The value of an option in the configuration."""
        values = self.cfg.get(section)
        values = vars(values) if isinstance(values, Namespace) else values or {}
        return values.get(name, default)

    @property
    def at_end(self) -> bool:
        """Whether the training had reached its end; fairseq would add an update to one that ``--max-update`` ended."""
        most = self.option("optimization", "max_update") or 0
        last = self.option("optimization", "max_epoch") or 0
        return bool(most and self.updates >= most) or bool(last and self.epoch > last)


def obstacle(run: Run, folder: Path) -> str | None:
    """See :meth:`lottery_core.protocols.Framework.obstacle`; what it promises is for one process on a CPU."""
    checkpoint = folder / LAST
    if not checkpoint.exists():
        return "it had no checkpoint yet"
    try:
        damaged = _damaged(checkpoint)
        place = Place.of(checkpoint)
    except CheckpointError as error:
        return str(error)
    if damaged:
        return f"{checkpoint} is damaged ({damaged})"
    return _not_kept(place) or (_rewind_lost(place, folder) if run.kind == DENSE else None)


def _damaged(checkpoint: Path) -> str | None:
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            return archive.testzip()
    except Exception as error:  # a damaged file can raise anything
        raise CheckpointError(f"{checkpoint} was not written to its end ({error})") from error


def _not_kept(place: Place) -> str | None:
    for section, defaults in _NOT_KEPT.items():
        for name, default in defaults.items():
            if place.option(section, name, default) != default:
                return f"a checkpoint does not keep the state of --{name.replace('_', '-')}"
    if place.option("lr_scheduler", "_name") == _PLATEAU:
        return f"a checkpoint does not keep the state of --lr-scheduler {_PLATEAU}"
    half = place.option("common", "fp16") or place.option("common", "bf16")
    if half and (place.option("common", "cpu") or not torch.cuda.is_available()):
        return "a checkpoint of --fp16 or --bf16 does not keep the fp32 masters"
    return None


def _rewind_lost(place: Place, folder: Path) -> str | None:
    if not (folder / INIT).exists():
        return f"{INIT} is missing"
    point = parse_rewind(place.option("task", "rewind_point"))
    passed = place.epoch > point.count if point.unit == "epochs" else place.updates >= point.count
    return f"{REWIND} is missing" if passed and not (folder / REWIND).exists() else None
