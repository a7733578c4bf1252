"""Where a ticket's run begins: with ``--after-rewind remaining``, at the rewind point.

A ticket that trains only the remaining updates continues from the dense run's rewind point: its update count, and with
it the learning-rate schedule and the dropout noise, and its position in the data (Frankle et al., arXiv 1912.05671).
The optimizer's state is new.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lottery_core.errors import ConfigError
from lottery_core.experiments import Point, paths
from lottery_core.files import read_json, write_json

log = logging.getLogger("fairseq_lottery")
_UPDATES, _BATCHES = "updates", "train_iterator"
_PLATEAU = "reduce_lr_on_plateau"


@dataclass(frozen=True)
class Beginning:
    """How far the dense run had come at its rewind point.

    :param updates: updates done
    :param batches: state of fairseq's iterator over the training data; ``epoch`` is the current or the next epoch,
        counted from 1, and ``iterations_in_epoch`` the number of its batches that are done
    """

    updates: int
    batches: Mapping[str, int]

    @classmethod
    def beside(cls, rewind: Path) -> Beginning:
        """Read the progress that the dense run wrote beside its weights at the rewind point.

        :param rewind: the weights, ``rewind.safetensors``
        :raises ConfigError: the file is missing or damaged
        """
        path = rewind.parent / paths.REWIND_COUNTS
        try:
            value = read_json(path)
        except (OSError, ValueError) as error:
            raise ConfigError(f"cannot read {path}: {error}") from error
        if value is None:
            raise ConfigError(f"{path} is missing: it says how far the dense run was at {rewind.name}")
        updates: Any
        batches: Any
        updates, batches = (value.get(_UPDATES), value.get(_BATCHES)) if isinstance(value, dict) else (None, None)
        known = isinstance(batches, dict) and "epoch" in batches
        if not known or not all(isinstance(number, int) and number >= 0 for number in (updates, *batches.values())):
            raise ConfigError(f"cannot read {path}: it does not say how far the dense run was")
        return cls(updates, batches)

    def write(self, folder: Path) -> None:
        """Write the progress beside the weights at the rewind point.

        :param folder: folder of the dense run
        :raises WriteError: the file cannot be written
        """
        write_json(folder / paths.REWIND_COUNTS, {_UPDATES: self.updates, _BATCHES: dict(self.batches)})

    def is_at(self, point: Point) -> bool:
        """Return whether the dense run had come to a point: to that number of updates, or to the end of that epoch.

        :param point: the point
        """
        if point.unit == "updates":
            return self.updates == point.count
        # Iterators that do not say how far they are in an epoch do not count the next one at its end either.
        next_epoch = int("iterations_in_epoch" in self.batches)
        return self.batches["epoch"] - next_epoch == point.count and not self.batches.get("iterations_in_epoch")

    def start(self, trainer: Any, batches: Any, **options: Any) -> Any:
        """Move a new run to this point, in the same way as fairseq resumes one.

        :param trainer: fairseq's trainer, which has not loaded a checkpoint
        :param batches: its iterator over the training data, at the start of the first epoch
        :param options: keyword arguments of ``Trainer.get_train_iterator``
        :returns: the iterator over the training data
        :raises ConfigError: no updates remain, or the schedule cannot continue from here
        """
        require_schedule(trainer.cfg)
        epoch, length = self.batches["epoch"], trainer.cfg.optimization
        if (length.max_update and self.updates >= length.max_update) or (length.max_epoch and epoch > length.max_epoch):
            raise ConfigError(
                f"nothing remains to be trained after the rewind point, at which {self.updates} updates were done"
            )
        if epoch > 1:
            shards = trainer.task.has_sharded_data("train")
            batches = trainer.get_train_iterator(epoch=epoch, load_dataset=shards, **options)
        if hasattr(batches.dataset, "set_epoch"):
            batches.dataset.set_epoch(epoch)
        batches.load_state_dict(dict(self.batches))
        trainer.set_num_updates(self.updates)
        trainer.lr_step(epoch)
        done = self.batches.get("iterations_in_epoch", 0)
        log.info("begins at the rewind point: %d updates, epoch %d, %d batches of it", self.updates, epoch, done)
        return batches


def require_schedule(cfg: Any) -> None:
    """Check that the learning-rate schedule can begin at the rewind point, so depends only on updates and epochs.

    :param cfg: configuration of a run
    :raises ConfigError: the schedule depends on validation scores, which a new run does not have
    """
    if getattr(cfg.lr_scheduler, "_name", None) == _PLATEAU:
        raise ConfigError(
            f"--lr-scheduler {_PLATEAU} follows earlier validations and cannot go on from the rewind point: use "
            "another schedule or, for tickets, --after-rewind full"
        )
