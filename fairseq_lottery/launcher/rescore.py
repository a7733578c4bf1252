"""``fairseq-lottery rescore``: score the finished runs of an experiment again, without training."""

from __future__ import annotations

import argparse
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fairseq_lottery.argv import FairseqArguments
from fairseq_lottery.launcher.framework import Fairseq, load_trusted
from fairseq_lottery.launcher.options import parse_fairseq
from fairseq_lottery.launcher.scoring import (
    SCORING_OPTIONS,
    add_scoring_options,
    check_checkpoints,
    check_scoring,
    default_score,
    scoring_of,
    try_scoring,
    with_scoring,
    with_tokenizer,
)
from fairseq_lottery.lengths import gpus_of_a_run
from fairseq_lottery.task import settle_layers
from lottery_core.cli import Parser, add_trust
from lottery_core.errors import ConfigError
from lottery_core.experiments import Experiment, Progress, Runner, read_marker, read_row
from lottery_core.experiments.executors import add_executor_options, make_executor, shares, visible_gpus
from lottery_core.reports import report


def rescore_parser() -> Parser:
    """Make the parser of ``fairseq-lottery rescore``."""
    result = Parser(
        prog="fairseq-lottery rescore",
        description="Score the finished runs of an experiment again, without training. An option that is not given "
        "stays as it was; the earlier scores are kept in scores.csv.",
        argument_default=argparse.SUPPRESS,
    )
    result.add_argument("out", type=Path, metavar="DIR", help="folder of the experiment, finished or not")
    add_scoring_options(result.add_argument_group("scores"))
    add_executor_options(result.add_argument_group("where runs are scored"))
    add = result.add_argument
    add("--again", action="store_true", default=False, help="also score runs whose scores came from the same settings")
    add("--quiet", action="store_true", default=False, help="no progress")
    add_trust(result)
    return result


def rescore(words: Sequence[str], training: Sequence[str] = ()) -> None:
    """Run ``fairseq-lottery rescore``.

    :param words: words of the command line after ``rescore``
    :param training: words after ``--``, which must be empty
    :raises LotteryError: bad input, or a run cannot be scored
    """
    from fairseq import tasks

    args = rescore_parser().parse_args(list(words))
    if training:
        raise ConfigError("rescore trains nothing: leave out what follows --")
    before = load_trusted(args.out, args.trust)
    arguments = FairseqArguments(before.settings["arguments"])
    given = {name: getattr(args, name, None) for name in SCORING_OPTIONS}
    experiment = with_scoring(before, scoring_of(given, before.scoring, default_score(arguments.task or "")))
    if not any(_finished(experiment)):
        raise ConfigError(f"{args.out} holds no finished run, so there is nothing to score again")
    logging.getLogger().setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    cfg: Any = parse_fairseq(arguments)
    task = tasks.setup_task(cfg.task)
    model = task.build_model(cfg.model)
    settle_layers(cfg.model)
    experiment = with_tokenizer(experiment, task)
    check_and_try(experiment, task, cfg, model, again=args.again)
    gpus = [] if arguments.cpu else shares(visible_gpus(), args.jobs or 1)
    executor = make_executor(args, Fairseq().command, experiment.out, gpus)
    Runner(experiment, Fairseq(), executor, Progress(quiet=args.quiet)).rescore(args.again)
    report([experiment.out])


def check_and_try(
    experiment: Experiment, task: Any, cfg: Any, model: Any, dry_run: bool = False, again: bool = False
) -> None:
    """Check the scoring of an experiment, and try it unless a run was already scored in the same way.

    :param experiment: the experiment
    :param task: its task
    :param cfg: fairseq's configuration
    :param model: an untrained model
    :param dry_run: whether to skip the trial
    :param again: whether runs are scored again that were scored in the same way
    :raises ConfigError: the scoring does not work for the experiment's runs
    """
    finished = _finished(experiment)
    # Whatever is scored already needs no further checkpoints: people delete those of epochs.
    stale = [run for run, row in finished.items() if again or row.scoring != experiment.scoring_text]
    folders = [experiment.out / run.folder for run in stale]
    check_checkpoints(cfg, experiment.scoring["average"], folders, gpus_of_a_run(experiment))
    check_scoring(experiment, task, cfg, model)
    known = any(row.scoring == experiment.scoring_text for row in finished.values())
    if not known and not dry_run:
        try_scoring(experiment, cfg, model)


def _finished(experiment: Experiment) -> dict[Any, Any]:
    plan = Experiment.load(experiment.out).plan() if read_row(experiment.out) else []
    scored = (run for run in plan if not run.search)
    return {run: row for run in scored if (row := read_marker(experiment.out / run.folder, experiment))}
