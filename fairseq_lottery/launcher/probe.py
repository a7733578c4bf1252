"""``fairseq-lottery stability``: the candidate points of a training, and how their copies are scored."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairseq_lottery.launcher.scoring import default_score
from fairseq_lottery.names import LOG_PPL, LOSS
from fairseq_lottery.task import RewindPoint, parse_rewind
from lottery_core.cli import PROBE_DEFAULTS, probe_of
from lottery_core.errors import ConfigError
from lottery_core.experiments import Experiment, parse_points

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


def with_points(experiment: Experiment, cfg: Any, given: Mapping[str, Any]) -> Experiment:
    """Return the stability probe of an experiment; shares of the training become updates.

    :param experiment: an experiment with the settings of the runs
    :param cfg: fairseq's configuration
    :param given: options that were given, by name
    :raises LotteryError: a point is not understood, or nothing remains of the training after it
    """
    values = {**PROBE_DEFAULTS, **given}
    limits = int(cfg.optimization.max_update or 0), int(cfg.optimization.max_epoch or 0)

    def parse(word: str) -> str:
        return str(parse_rewind(word, "--points"))

    shares = any("%" in word or word.replace(".", "", 1).isdigit() for word in values["points"])
    length = updates_of(cfg, int(experiment.settings.get("gpus_per_run", 1))) if shares else 0
    points = parse_points(values["points"], length, "updates", parse)
    for word in points:
        point = parse_rewind(word, "--points")
        RewindPoint(Path(), point, False, *limits)  # raises if the training ends before
        if point.count and point.count in (limits[point.unit == "epochs"], length if point.unit == "updates" else 0):
            raise ConfigError(f"nothing remains to be trained after the point {point}")
    return probe_of(experiment, points, values)


def updates_of(cfg: Any, gpus: int = 1) -> int:
    """Return the number of updates of a training, from ``--max-update``, or from its batches and ``--max-epoch``.

    :param cfg: fairseq's configuration
    :param gpus: number of GPUs of a run, each of which has its own batches
    """
    most, epochs = int(cfg.optimization.max_update or 0), int(cfg.optimization.max_epoch or 0)
    if not epochs:
        return most
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
    frequencies = list(cfg.optimization.update_freq)
    every: list[int] = [frequencies[min(epoch, len(frequencies) - 1)] for epoch in range(epochs)]
    total: int = sum(math.ceil(len(batches) / each) for each in every)
    return min(total, most) if most else total
