"""How long a training of fairseq is: its updates and epochs, before it begins."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch

from lottery_core.errors import ConfigError
from lottery_core.experiments import Experiment, Point


def gpus_of_a_run(experiment: Experiment) -> int:
    """Return the number of GPUs of each run of an experiment, 1 on the CPU: each has its own batches.

    :param experiment: the experiment
    """
    return int(experiment.settings.get("gpus_per_run", 1))


def _shards(cfg: Any, gpus: int) -> int:
    # By default the world is as large as the number of GPUs here, of which a run may see fewer.
    world = int(cfg.distributed_training.distributed_world_size or 1)
    return gpus if world == max(1, torch.cuda.device_count()) else world


@dataclass(frozen=True)
class Lengths:
    """The length of a training, and of its epochs.

    :param updates: number of updates of the training
    :param epochs: largest number of epochs; 0 for no limit
    :param batches: number of batches of an epoch; of data in several shards by shard, each epoch reads the next one
    :param frequencies: batches of an update by epoch, the last one for all further epochs
    :param whole: whether the batches at the end of an epoch that are too few for an update are left out
    """

    updates: int
    epochs: int
    batches: tuple[int, ...]
    frequencies: tuple[int, ...]
    whole: bool = False

    @classmethod
    def of(cls, cfg: Any, gpus: int = 1, of_epochs: bool = False) -> Lengths:
        """Read the length from ``--max-update``, and from the batches and ``--max-epoch``.

        :param cfg: fairseq's configuration
        :param gpus: number of GPUs of a run, each of which has its own batches
        :param of_epochs: whether the length of an epoch is needed even without ``--max-epoch``
        """
        most, epochs = int(cfg.optimization.max_update or 0), int(cfg.optimization.max_epoch or 0)
        batches = _batches(cfg, gpus, epochs) if epochs or of_epochs else (0,)
        whole = bool(cfg.optimization.skip_remainder_batch)
        found = cls(most, epochs, batches, tuple(cfg.optimization.update_freq), whole)
        total = found.until(epochs)
        return replace(found, updates=min(total, most) if most and epochs else most or total)

    def until(self, epochs: int) -> int:
        """Return the number of updates of the first epochs.

        :param epochs: their number
        """
        return sum(map(self._of_epoch, range(epochs)))

    def whole_epochs(self) -> int:
        """Return the number of epochs that the training ends, each of which leaves a checkpoint.

        :raises ConfigError: the training never ends
        """
        done = epochs = idle = 0
        while not self.epochs or epochs < self.epochs:
            updates = self._of_epoch(epochs)
            done += updates
            idle = 0 if updates else idle + 1
            if done > self.updates:
                break
            if idle > len(self.batches) * len(self.frequencies):
                raise ConfigError(
                    f"--max-update {self.updates} is never reached: after {done} updates all epochs have fewer batches "
                    "than an update takes"
                )
            epochs += 1
        return epochs

    def _of_epoch(self, epoch: int) -> int:
        # Number of updates of an epoch, counted from 0.
        batches = self.batches[epoch % len(self.batches)]
        return updates_of_epoch(batches, self.frequencies[min(epoch, len(self.frequencies) - 1)], self.whole)

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


def updates_of_epoch(batches: int, frequency: int, whole: bool) -> int:
    """Return the number of updates of an epoch, as fairseq's ``GroupedIterator`` makes them.

    :param batches: number of batches
    :param frequency: batches of an update
    :param whole: ``--skip-remainder-batch``: whether too few batches at the end are left out
    """
    return batches // frequency if whole else math.ceil(batches / frequency)


def batches_of_epoch(batches: Any) -> int:
    """Return how many batches of an epoch fairseq trains on.

    With ``--skip-remainder-batch`` its ``EpochBatchIterator`` leaves out the last batch of each epoch, whole or not.

    :param batches: the task's iterator over the training data
    """
    return len(batches) - bool(getattr(batches, "skip_remainder_batch", False))


def shards_of(task: Any) -> int:
    """Return in how many shards the training data is, of which fairseq reads one in each epoch, in turn.

    :param task: a lottery task
    """
    from fairseq import utils

    return len(utils.split_paths(task.lottery_options.data)) if task.has_sharded_data("train") else 1


def _batches(cfg: Any, gpus: int, epochs: int) -> tuple[int, ...]:
    # Of each shard of the training data that is read.
    from fairseq import tasks

    task = tasks.setup_task(cfg.task)
    model = task.build_model(cfg.model)
    shards = shards_of(task)
    read = min(shards, epochs) if epochs else shards
    return tuple(_batches_of_shard(cfg, gpus, task, model, epoch) for epoch in range(1, read + 1))


def _batches_of_shard(cfg: Any, gpus: int, task: Any, model: Any, epoch: int) -> int:
    from fairseq import utils

    # As fairseq/trainer.py:get_train_iterator.
    task.load_dataset(cfg.dataset.train_subset, epoch=epoch, combine=True)
    batches = task.get_batch_iterator(
        dataset=task.dataset(cfg.dataset.train_subset),
        max_tokens=cfg.dataset.max_tokens,
        max_sentences=cfg.dataset.batch_size,
        max_positions=utils.resolve_max_positions(task.max_positions(), model.max_positions(), cfg.dataset.max_tokens),
        ignore_invalid_inputs=True,
        required_batch_size_multiple=cfg.dataset.required_batch_size_multiple,
        seed=cfg.common.seed,
        num_shards=_shards(cfg, gpus),
        shard_id=0,
        num_workers=0,
        epoch=epoch,
        skip_remainder_batch=cfg.optimization.skip_remainder_batch,
    )
    return batches_of_epoch(batches)
