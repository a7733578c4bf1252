"""The command ``fairseq-lottery``: a whole experiment around one ``fairseq-train`` command."""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fairseq_lottery.argv import split
from fairseq_lottery.launcher.framework import Fairseq
from fairseq_lottery.launcher.options import experiment_of, parse_fairseq, parser
from fairseq_lottery.launcher.scores import decodes, generate_words, read_lines
from fairseq_lottery.names import BLEU, LOG_PPL, TOKENIZED_BLEU
from fairseq_lottery.task import RewindPoint, parse_rewind
from lottery_core.cli import run_command, run_experiment
from lottery_core.errors import ConfigError
from lottery_core.experiments import Experiment
from lottery_core.experiments.executors import SLURM, gpus_of_a_job, make_executor, nodes_of_a_job, shares, visible_gpus
from lottery_core.tickets import pool_names, snapshot


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
    _check_checkpoints(cfg.checkpoint, experiment.settings["average"], cfg.optimization.max_epoch)
    task = tasks.setup_task(cfg.task)
    score = experiment.settings["score"]
    if score in (BLEU, TOKENIZED_BLEU):
        try:
            import sacrebleu  # noqa: F401
        except ImportError as error:
            raise ConfigError("BLEU needs sacrebleu: pip install sacrebleu") from error
    if score == LOG_PPL and not hasattr(task, "output_dictionary"):
        raise ConfigError(
            f"--score {LOG_PPL} is for language models; for translation there are {BLEU}, {TOKENIZED_BLEU}"
        )
    if score in (BLEU, TOKENIZED_BLEU, LOG_PPL):
        task.load_dataset(experiment.settings["gen_subset"])
    if score in (BLEU, TOKENIZED_BLEU):
        _check_generation(task, experiment.settings)
    weights = snapshot(task.build_model(cfg.model))
    pool_names(weights.names(), experiment.scope, weights.outside)
    return experiment


def _check_checkpoints(cfg: Any, average: int, epochs: int) -> None:
    for name in ("no_save", "no_last_checkpoints"):
        if getattr(cfg, name):
            raise ConfigError(f"--{name.replace('_', '-')} leaves no checkpoint to prune: leave it out")
    if average == 1:
        return
    if cfg.no_epoch_checkpoints:
        raise ConfigError(f"--average {average} needs checkpoints of epochs: leave --no-epoch-checkpoints out")
    if 0 < cfg.keep_last_epochs < average:
        raise ConfigError(
            f"--average {average} needs as many checkpoints, but --keep-last-epochs {cfg.keep_last_epochs}"
        )
    if epochs and epochs // cfg.save_interval < average:
        raise ConfigError(f"--average {average} needs as many checkpoints of epochs, but {epochs} epochs leave fewer")


def _check_generation(task: Any, settings: Mapping[str, Any]) -> None:
    from fairseq import options

    if getattr(task, "source_dictionary", None) is None or not hasattr(task.datasets[settings["gen_subset"]], "tgt"):
        raise ConfigError(f"BLEU needs a translation task: give --score {LOG_PPL}, or a command of your own")
    words = generate_words(settings["arguments"], settings)
    before = sys.argv
    sys.argv = ["fairseq-generate", *words]  # fairseq looks there for --user-dir while it makes its parser
    try:
        options.parse_args_and_arch(options.get_generation_parser(), input_args=words)
    finally:
        sys.argv = before
    if settings["score"] == TOKENIZED_BLEU and decodes(words):
        raise ConfigError(
            f"{TOKENIZED_BLEU} is of the tokens as they are: leave --tokenizer and --bpe out of --generate"
        )
    if settings["reference"] is not None:
        lines, pairs = len(read_lines(Path(settings["reference"]))), len(task.dataset(settings["gen_subset"]))
        if lines != pairs:
            raise ConfigError(f"{settings['reference']} has {lines} lines, but {settings['gen_subset']} has {pairs}")


def _with_gpus(experiment: Experiment, args: argparse.Namespace) -> Experiment:
    # fairseq takes all GPUs that it sees, and as many batches: a run on fewer of them is another training.
    if "--cpu" in experiment.settings["arguments"]:
        return experiment
    if args.executor == SLURM:
        count = gpus_of_a_job(args)
    else:
        gpus, jobs = visible_gpus(), args.jobs or 1
        count = len(gpus) if jobs < 2 else max(1, len(gpus) // jobs)
    if not count:
        return experiment
    return replace(experiment, settings={**experiment.settings, "gpus_per_run": count})


def _check_nodes(args: argparse.Namespace) -> None:
    nodes = nodes_of_a_job(args) if args.executor == SLURM else 1
    if nodes > 1 and args.launcher is None:
        raise ConfigError(
            f"--slurm nodes={nodes} needs a --launcher that starts the ranks on all of them, e.g. 'srun python', "
            "with tasks_per_node in --slurm, and --distributed-world-size and --distributed-port behind --"
        )


def _run(args: argparse.Namespace, words: Sequence[str]) -> None:
    _check_nodes(args)
    experiment = _with_gpus(experiment_of(args, words), args)
    framework = Fairseq(args.launcher)
    gpus = [] if "--cpu" in words else shares(visible_gpus(), args.jobs or 1)
    trainer = make_executor(args, framework.command, experiment.out, gpus)
    experiment = _preflight(experiment)
    run_experiment(experiment, framework, trainer, args.dry_run, args.quiet)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``fairseq-lottery``.

    :param argv: arguments, ``sys.argv`` when ``None``
    :returns: exit status: 0, 1 for a failed run, 2 for bad input, 130 after Ctrl-C
    """
    own, words = split(sys.argv[1:] if argv is None else argv)
    args = parser().parse_args(own)
    return run_command(lambda: _run(args, words), "fairseq-lottery")
