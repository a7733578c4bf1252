"""How long a training of fairseq is: its updates and epochs, before it begins."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from lottery_core.errors import ConfigError
from lottery_core.experiments import Point


@dataclass(frozen=True)
class Lengths:
    """The length of a training, and of its epochs.

    :param updates: number of updates of the training
    :param epochs: largest number of epochs; 0 for no limit
    :param batches: number of batches of an epoch
    :param frequencies: batches of an update by epoch, the last one for all further epochs
    """

    updates: int
    epochs: int
    batches: int
    frequencies: tuple[int, ...]

    @classmethod
    def of(cls, cfg: Any, gpus: int = 1, of_epochs: bool = False) -> Lengths:
        """Read the length from ``--max-update``, and from the batches and ``--max-epoch``.

        :param cfg: fairseq's configuration
        :param gpus: number of GPUs of a run, each of which has its own batches
        :param of_epochs: whether the length of an epoch is needed even without ``--max-epoch``
        """
        most, epochs = int(cfg.optimization.max_update or 0), int(cfg.optimization.max_epoch or 0)
        found = cls(
            most, epochs, _batches(cfg, gpus) if epochs or of_epochs else 0, tuple(cfg.optimization.update_freq)
        )
        total = found.until(epochs)
        return replace(found, updates=min(total, most) if most and epochs else most or total)

    def until(self, epochs: int) -> int:
        """Return the number of updates of the first epochs.

        :param epochs: their number
        """
        last = len(self.frequencies) - 1
        return sum(math.ceil(self.batches / self.frequencies[min(epoch, last)]) for epoch in range(epochs))

    def check(self, point: Point) -> int:
        """Return the number of updates before a point, if something remains to be trained after it.

        :param point: the point
        :raises ConfigError: the training ends before the point, or there
        """
        before = self.until(point.count) if point.unit == "epochs" else point.count
        if before >= self.updates:
            why = "nothing remains to be trained after it" if before == self.updates else "it is never reached"
            raise ConfigError(f"--points {point}: {why}, the training has {self.updates} updates")
        return before


def _batches(cfg: Any, gpus: int) -> int:
    from fairseq import tasks, utils

    task = tasks.setup_task(cfg.task)
    model = task.build_model(cfg.model)
    task.load_dataset(cfg.dataset.train_subset)
    batches = task.get_batch_iterator(  # as fairseq/trainer.py:get_train_iterator
        dataset=task.dataset(cfg.dataset.train_subset),
        max_tokens=cfg.dataset.max_tokens,
        max_sentences=cfg.dataset.batch_size,
        max_positions=utils.resolve_max_positions(task.max_positions(), model.max_positions(), cfg.dataset.max_tokens),
        ignore_invalid_inputs=True,
        required_batch_size_multiple=cfg.dataset.required_batch_size_multiple,
        seed=cfg.common.seed,
        num_shards=max(gpus, int(cfg.distributed_training.distributed_world_size or 1)),
        shard_id=0,
        num_workers=0,
        epoch=1,
        skip_remainder_batch=cfg.optimization.skip_remainder_batch,
    )
    return len(batches)
