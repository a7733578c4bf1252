"""``fairseq-lottery stability``: the candidate points of a training, and how their copies are scored."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fairseq_lottery.launcher.scoring import default_score
from fairseq_lottery.names import LOG_PPL, LOSS
from fairseq_lottery.task import parse_rewind
from lottery_core.cli import PROBE_DEFAULTS, probe_of
from lottery_core.errors import ConfigError
from lottery_core.experiments import Experiment, Point, coinciding, parse_points

_SPLIT = "valid"


def scored_on_the_line(args: argparse.Namespace, task: str) -> argparse.Namespace:
    """Return the options with a score that is cheap along a line: the log perplexity or the loss, of the valid split.

    :param args: options of ``fairseq-lottery``
    :param task: the task's name
    :raises ConfigError: another score was asked for
    """
    usual = LOG_PPL if default_score(task) == LOG_PPL else LOSS
    score = args.score or [usual]
    if len(score) > 1 or score[0] not in (LOG_PPL, LOSS):
        raise ConfigError(f"stability scores each network on the lines by {LOG_PPL} or {LOSS}, not {' '.join(score)}")
    changed = {"score": score, "gen_subset": args.gen_subset or _SPLIT, "average": None, "generate": None}
    return argparse.Namespace(**{**vars(args), **changed, "reference": None})


def with_points(experiment: Experiment, cfg: Any, given: Mapping[str, Any]) -> tuple[Experiment, list[str]]:
    """Return the stability probe of an experiment; shares of the training become updates.

    :param experiment: an experiment with the settings of the runs
    :param cfg: fairseq's configuration, with the length of the training
    :param given: options that were given, by name
    :returns: the probe, and lines for the user about points that are the same network
    :raises LotteryError: a point is not understood, or nothing remains of the training after it
    """
    values = {**PROBE_DEFAULTS, **given}
    epochs = any(word.startswith("epoch") for word in values["points"])
    lengths = Lengths.of(cfg, int(experiment.settings.get("gpus_per_run", 1)), epochs)

    def parse(word: str) -> str:
        return str(parse_rewind(word, "--points"))

    points = parse_points(values["points"], lengths.updates, "updates", parse)
    places: dict[int, list[str]] = {}
    for word in points:
        places.setdefault(lengths.check(parse_rewind(word, "--points")), []).append(word)
    return probe_of(experiment, points, values), [coinciding(same) for same in places.values() if len(same) > 1]


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
