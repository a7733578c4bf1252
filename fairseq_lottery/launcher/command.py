"""Run the command ``fairseq-lottery``: check everything before the first run, then hand over to the runner."""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fairseq_lottery.argv import FairseqArguments, split
from fairseq_lottery.launcher.framework import Fairseq
from fairseq_lottery.launcher.options import experiment_of, parse_fairseq, parser, resolve, with_task
from fairseq_lottery.launcher.scores import decodes, generate_arguments, read_lines
from fairseq_lottery.launcher.worker import training_arguments, training_command
from fairseq_lottery.names import BLEU, LOG_PPL, TOKENIZED_BLEU
from fairseq_lottery.patches import require_flat_masters
from fairseq_lottery.task import RewindPoint, parse_rewind, require_schedule
from lottery_core.cli import run_command, run_experiment
from lottery_core.errors import ConfigError
from lottery_core.experiments import REMAINING, Experiment, Run
from lottery_core.experiments.executors import (
    SLURM,
    gpus_of_a_job,
    make_executor,
    nodes_of_a_job,
    shares,
    tasks_of_a_job,
    visible_gpus,
)
from lottery_core.pruning import check_scope_shares
from lottery_core.tickets import snapshot


def _preflight(experiment: Experiment, arguments: FairseqArguments) -> Experiment:
    # Everything that would fail in the first run fails here, before anything is written.
    from fairseq import tasks

    # Messages of fairseq and hydra while a model is built belong in train.log, not here.
    logging.getLogger().setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    cfg: Any = parse_fairseq(arguments)
    experiment = replace(experiment, settings={**experiment.settings, "data": cfg.task.data})
    experiment.check_same_as_before()
    if cfg.dataset.max_tokens is None and cfg.dataset.batch_size is None:
        raise ConfigError("give --max-tokens or --batch-size after --")
    if not cfg.optimization.max_epoch and not cfg.optimization.max_update:
        raise ConfigError("give --max-epoch or --max-update after --, or the training never ends")
    if (
        cfg.common.cpu
        and cfg.common.fp16
        and not (cfg.common.fp16_no_flatten_grads or cfg.common.memory_efficient_fp16)
    ):
        require_flat_masters()
    limits = int(cfg.optimization.max_update or 0), int(cfg.optimization.max_epoch or 0)
    # Raises an error if the training ends before the rewind point.
    point = parse_rewind(experiment.rewind)
    RewindPoint(Path(), point, False, *limits)
    if experiment.after_rewind == REMAINING:
        require_schedule(cfg)
        if point.count and point.count == limits[point.unit == "epochs"]:
            raise ConfigError(f"nothing remains to be trained after the rewind point {point}")
    _check_checkpoints(cfg.checkpoint, experiment.settings["average"], cfg.optimization.max_epoch)
    task = tasks.setup_task(cfg.task)
    score = experiment.settings["score"]
    if score in (BLEU, TOKENIZED_BLEU):
        try:
            import sacrebleu  # noqa: F401
        except ImportError as error:
            raise ConfigError("BLEU needs sacrebleu: pip install sacrebleu") from error
    if score == LOG_PPL and not hasattr(task, "output_dictionary"):
        raise ConfigError(f"--score {LOG_PPL} is for language models; for translation use {BLEU} or {TOKENIZED_BLEU}")
    if score in (BLEU, TOKENIZED_BLEU, LOG_PPL):
        task.load_dataset(experiment.settings["gen_subset"])
    if score in (BLEU, TOKENIZED_BLEU):
        _check_generation(task, arguments, experiment.settings)
    weights = snapshot(task.build_model(cfg.model))
    check_scope_shares(experiment.scope_shares, weights.pool(experiment.scope), weights.tensors)
    return experiment


def _check_checkpoints(cfg: Any, average: int, epochs: int) -> None:
    for name in ("no_save", "no_last_checkpoints"):
        if getattr(cfg, name):
            raise ConfigError(f"--{name.replace('_', '-')} leaves no checkpoint to prune: leave it out")
    if average == 1:
        return
    if cfg.no_epoch_checkpoints:
        raise ConfigError(f"--average {average} needs the checkpoints of epochs: leave --no-epoch-checkpoints out")
    if 0 < cfg.keep_last_epochs < average:
        raise ConfigError(
            f"--average {average} needs as many checkpoints, but --keep-last-epochs {cfg.keep_last_epochs}"
        )
    if epochs and epochs // cfg.save_interval < average:
        raise ConfigError(f"--average {average} needs as many checkpoints of epochs, but {epochs} epochs leave fewer")


def _check_generation(task: Any, arguments: FairseqArguments, settings: Mapping[str, Any]) -> None:
    from fairseq import options

    if getattr(task, "source_dictionary", None) is None or not hasattr(task.datasets[settings["gen_subset"]], "tgt"):
        raise ConfigError(f"BLEU needs a translation task: give --score {LOG_PPL}, or a command of your own")
    generating = generate_arguments(arguments, settings)
    words = list(generating.words)
    before = sys.argv
    sys.argv = ["fairseq-generate", *words]  # fairseq looks for --user-dir there while it makes its parser
    try:
        options.parse_args_and_arch(options.get_generation_parser(), input_args=words)
    finally:
        sys.argv = before
    if settings["score"] == TOKENIZED_BLEU and decodes(generating):
        raise ConfigError(
            f"{TOKENIZED_BLEU} scores the tokens as they are: leave --tokenizer and --bpe out of --generate"
        )
    if settings["reference"] is not None:
        lines, pairs = len(read_lines(Path(settings["reference"]))), len(task.dataset(settings["gen_subset"]))
        if lines != pairs:
            raise ConfigError(f"{settings['reference']} has {lines} lines, but {settings['gen_subset']} has {pairs}")


def _with_gpus(experiment: Experiment, arguments: FairseqArguments, args: argparse.Namespace) -> Experiment:
    # fairseq uses all GPUs that it sees, each with a batch of its own, so their number changes the training.
    if arguments.cpu:
        return experiment
    if args.executor == SLURM:
        count = gpus_of_a_job(args)
    else:
        gpus, jobs = visible_gpus(), args.jobs or 1
        count = len(gpus) if jobs < 2 else max(1, len(gpus) // jobs)
    if not count:
        return experiment
    return replace(experiment, settings={**experiment.settings, "gpus_per_run": count})


def _check_tasks(args: argparse.Namespace) -> None:
    tasks = tasks_of_a_job(args) if args.executor == SLURM else 1
    if tasks > 1 and args.launcher is None:
        of = f"nodes={nodes_of_a_job(args)}" if nodes_of_a_job(args) > 1 else f"tasks_per_node={tasks}"
        raise ConfigError(
            f"--slurm {of} needs a --launcher that starts the ranks on all of them, e.g. 'srun python', "
            "with tasks_per_node in --slurm, and --distributed-world-size and --distributed-port after --"
        )


def _cpus_of_a_gpu(arguments: FairseqArguments, threads: int) -> int:
    # A rank each, with the processes that load its data.
    workers = arguments.value("--num-workers") or "1"
    return threads + (int(workers) if workers.isdigit() else 1)


def _run(given: Mapping[str, Any], words: Sequence[str]) -> None:
    args = resolve(given)
    _check_tasks(args)
    arguments = with_task(FairseqArguments(words))
    experiment = _with_gpus(experiment_of(args, arguments), arguments, args)
    framework = Fairseq(args.launcher)
    gpus = [] if arguments.cpu else shares(visible_gpus(), args.jobs or 1)
    cpus = _cpus_of_a_gpu(arguments, args.threads)
    trainer = make_executor(args, framework.command, experiment.out, gpus, cpus)
    experiment = _preflight(experiment, arguments)

    def training(run: Run) -> str:
        words = training_arguments(arguments, experiment, run, experiment.out)
        return shlex.join(training_command(words, args.launcher))

    run_experiment(experiment, framework, trainer, args.dry_run, args.quiet, None, training)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``fairseq-lottery``.

    :param argv: command line, by default ``sys.argv[1:]``
    :returns: exit status: 0, 1 for a failed run, 2 for bad input, 130 after Ctrl-C
    """
    options, words = split(sys.argv[1:] if argv is None else argv)
    given = vars(parser().parse_args(options))
    return run_command(lambda: _run(given, words), "fairseq-lottery")
