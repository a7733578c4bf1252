"""The command ``fairseq-lottery``: a whole experiment around one ``fairseq-train`` command."""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fairseq_lottery.arguments import experiment_of, parse_fairseq, parser, split
from fairseq_lottery.framework import Fairseq
from fairseq_lottery.rewinding import RewindPoint, parse_rewind
from fairseq_lottery.scoring import BLEU, LOG_PPL, TOKENIZED_BLEU
from lottery_core.cli import do_experiment, guarded
from lottery_core.errors import ConfigError
from lottery_core.experiment import Experiment
from lottery_core.gpus import shares, visible_gpus
from lottery_core.processes import Processes
from lottery_core.scope import pool_names
from lottery_core.weights import snapshot


def _preflight(experiment: Experiment) -> Experiment:
    # Whatever would fail in the first run fails here, before anything is written.
    from fairseq import tasks

    # What fairseq, hydra and their packages say while a model is built is for train.log, not for here.
    logging.getLogger().setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    cfg: Any = parse_fairseq(experiment.settings["arguments"])
    experiment = replace(experiment, settings={**experiment.settings, "data": cfg.task.data})
    experiment.check_same_as_before()
    if cfg.dataset.max_tokens is None and cfg.dataset.batch_size is None:
        raise ConfigError("give --max-tokens or --batch-size behind --")
    if not cfg.optimization.max_epoch and not cfg.optimization.max_update:
        raise ConfigError("give --max-epoch or --max-update behind --, or the training never ends")
    limits = int(cfg.optimization.max_update or 0), int(cfg.optimization.max_epoch or 0)
    RewindPoint(Path(), parse_rewind(experiment.rewind), False, *limits)
    task = tasks.setup_task(cfg.task)
    score = experiment.settings["score"]
    if score in (BLEU, TOKENIZED_BLEU):
        try:
            import sacrebleu  # noqa: F401
        except ImportError as error:
            raise ConfigError("BLEU needs sacrebleu: pip install sacrebleu") from error
    if score in (BLEU, TOKENIZED_BLEU, LOG_PPL):
        task.load_dataset(experiment.settings["gen_subset"])
    weights = snapshot(task.build_model(cfg.model))
    pool_names(weights.names(), experiment.scope, weights.outside)
    return experiment


def _run(args: argparse.Namespace, words: Sequence[str]) -> None:
    experiment = experiment_of(args, words)
    framework = Fairseq(args.launcher)
    gpus = [] if "--cpu" in words else shares(visible_gpus(), args.jobs)
    executor = Processes(framework.command, args.jobs, args.threads, gpus)
    experiment = _preflight(experiment)
    do_experiment(experiment, framework, executor, args.dry_run, args.quiet)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``fairseq-lottery``.

    :param argv: arguments, ``sys.argv`` when ``None``
    :returns: exit status: 0, 1 for a failed run, 2 for bad input, 130 after Ctrl-C
    """
    own, words = split(sys.argv[1:] if argv is None else argv)
    args = parser().parse_args(own)
    return guarded(lambda: _run(args, words), "fairseq-lottery")


if __name__ == "__main__":
    sys.exit(main())
