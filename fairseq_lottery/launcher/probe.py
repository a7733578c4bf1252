"""``fairseq-lottery stability``: the candidate points of a training, and how their copies are scored."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from fairseq_lottery.launcher.scoring import default_score
from fairseq_lottery.lengths import Lengths, gpus_of_a_run
from fairseq_lottery.names import LOG_PPL, LOSS
from fairseq_lottery.task import parse_rewind
from lottery_core.cli import PROBE_DEFAULTS, probe_of
from lottery_core.errors import ConfigError
from lottery_core.experiments import Experiment, coinciding, parse_points

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
    lengths = Lengths.of(cfg, gpus_of_a_run(experiment), epochs)

    def parse(word: str) -> str:
        return str(parse_rewind(word, "--points"))

    points = parse_points(values["points"], lengths.updates, "updates", parse)
    places: dict[int, list[str]] = {}
    for word in points:
        places.setdefault(lengths.check(parse_rewind(word, "--points")), []).append(word)
    return probe_of(experiment, points, values), [coinciding(same) for same in places.values() if len(same) > 1]
