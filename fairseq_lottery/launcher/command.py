"""Run the command ``fairseq-lottery``: check everything before the first run, then hand over to the runner."""

from __future__ import annotations

import argparse
import logging
import math
import shlex
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from fairseq_lottery.argv import FairseqArguments, split
from fairseq_lottery.launcher.floor import floor
from fairseq_lottery.launcher.framework import Fairseq
from fairseq_lottery.launcher.options import (
    experiment_of,
    parse_fairseq,
    parser,
    resolve,
    stability_parser,
    with_task,
)
from fairseq_lottery.launcher.pretrained import check_start, with_digests
from fairseq_lottery.launcher.probe import scored_on_the_line, with_points
from fairseq_lottery.launcher.rescore import check_and_try, rescore
from fairseq_lottery.launcher.scoring import (
    SCORING_OPTIONS,
    default_score,
    has_floor,
    scoring_of,
    with_scoring,
    with_tokenizer,
)
from fairseq_lottery.launcher.training import training_arguments, training_command
from fairseq_lottery.lengths import Lengths, gpus_of_a_run
from fairseq_lottery.patches import require_flat_masters
from fairseq_lottery.task import RewindPoint, length_of, parse_rewind, require_schedule, settle_layers
from lottery_core.cli import (
    STABILITY,
    check_ways,
    chosen_of,
    probe_line,
    refuse_ticket_options,
    run_command,
    run_experiment,
    search_lines,
    threshold_of,
    typed_words,
    with_probed_point,
)
from lottery_core.errors import ConfigError, LotteryError
from lottery_core.experiments import (
    KEPT,
    NOTHING,
    REMAINING,
    Executor,
    Experiment,
    Progress,
    Run,
    as_kept,
    check_levels,
    read_row,
)
from lottery_core.experiments.executors import (
    SLURM,
    gpus_of_a_job,
    make_executor,
    nodes_of_a_job,
    shares,
    tasks_of_a_job,
    visible_gpus,
)
from lottery_core.files import first_line
from lottery_core.pruning import (
    GRADUALLY,
    IN_TRAINING,
    PruningSchedule,
    check_scope_shares,
    layout_of_weights,
)
from lottery_core.reports import stability_report
from lottery_core.tickets import snapshot


def _preflight(
    experiment: Experiment,
    arguments: FairseqArguments,
    args: argparse.Namespace,
    chosen: Collection[str],
    probes: bool = False,
) -> Experiment:
    # Everything that would fail in the first run fails here, before anything is written.
    from fairseq import tasks

    # The log messages of fairseq and hydra belong in train.log, not here.
    logging.getLogger().setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    cfg: Any = parse_fairseq(arguments)
    experiment = with_digests(replace(experiment, settings={**experiment.settings, "data": cfg.task.data}), arguments)
    check_start(experiment, cfg.checkpoint)
    if cfg.dataset.max_tokens is None and cfg.dataset.batch_size is None:
        raise ConfigError("give --max-tokens or --batch-size after --")
    if not cfg.optimization.max_epoch and not cfg.optimization.max_update:
        raise ConfigError("give --max-epoch or --max-update after --, or the training never ends")
    same: list[str] = []
    if probes:
        experiment, same = with_points(experiment, cfg, vars(args))
    planned = as_kept(experiment, chosen, args.budget)
    planned.check_same_as_before()
    if (
        cfg.common.cpu
        and cfg.common.fp16
        and not (cfg.common.fp16_no_flatten_grads or cfg.common.memory_efficient_fp16)
    ):
        require_flat_masters()
    task = tasks.setup_task(cfg.task)
    _check_pruned_in_training(experiment, cfg, task)
    limits = int(cfg.optimization.max_update or 0), int(cfg.optimization.max_epoch or 0)
    if experiment.rewind not in KEPT:
        # Raises an error if training ends before the rewind point.
        point = parse_rewind(experiment.rewind)
        reached = RewindPoint(Path(), point, False, *limits)
        if point.unit == "epochs" and point.count and limits[0]:
            lengths = Lengths.of(cfg, gpus_of_a_run(experiment), of_epochs=True)
            reached.check_epochs(lengths.until(point.count))
        if experiment.after_rewind == REMAINING:
            require_schedule(cfg)
            if point.count and point.count == limits[point.unit == "epochs"]:
                raise ConfigError(f"nothing remains to be trained after the rewind point {point}")
    elif experiment.rewind == NOTHING and cfg.checkpoint.no_save_optimizer_state:
        raise ConfigError(
            f"--rewind {NOTHING} continues at the last learning rate, which --no-save-optimizer-state does not "
            "save: leave it out, or restart the schedule, with --rewind-what lr"
        )
    if args.score is None and not read_row(experiment.out):  # the task's class says more than its name
        score = default_score("", tasks.TASK_REGISTRY[cfg.task._name])
        given = {name: getattr(args, name) for name in SCORING_OPTIONS}
        experiment = with_scoring(experiment, scoring_of(given, {}, score))
    experiment = with_tokenizer(experiment, task)
    model = _built(task, cfg)
    weights = snapshot(model)
    check_scope_shares(experiment.scope_shares, weights.pool(experiment.scope), weights.tensors)
    layout = layout_of_weights(weights, experiment.scope, experiment.granularity)
    check = partial(check_levels, weights=weights, layout=layout)
    carried = check_ways(args.budget, planned, chosen, check)
    frozen = experiment.frozen_line(weights)
    for line in (*same, *carried, *([frozen] if frozen else [])):
        Progress(quiet=args.quiet).say(line)
    check_and_try(experiment, task, cfg, model, args.dry_run)
    return experiment


def _built(task: Any, cfg: Any) -> Any:
    try:
        model = task.build_model(cfg.model)
        settle_layers(cfg.model)  # nothing is loaded into it
        return model
    except LotteryError:
        raise
    except Exception as error:  # models may raise anything
        raise ConfigError(f"fairseq cannot build the model: {type(error).__name__}: {first_line(error)}") from error


def _check_pruned_in_training(experiment: Experiment, cfg: Any, task: Any) -> None:
    if task.has_sharded_data("train") and not IN_TRAINING.keys().isdisjoint(experiment.kinds):
        length_of(cfg.optimization, None)
    if GRADUALLY not in experiment.kinds:
        return
    schedule, average = PruningSchedule.parse(experiment.gradual), experiment.scoring["average"]
    lengths = Lengths.of(cfg, gpus_of_a_run(experiment), of_epochs=average > 1)
    schedule.check_fits(lengths.updates, "updates")
    if average == 1:
        return
    interval = cfg.checkpoint.save_interval
    first = (lengths.whole_epochs() // interval - average + 1) * interval
    share = lengths.until(first) / lengths.updates if first > 0 else 1.0
    if schedule.due(share) < schedule.steps:
        raise ConfigError(
            f"--average {average} takes checkpoints from before the last step of pruning, in which more survives: let "
            f"--gradual end before {math.floor(1000 * share) / 1000:g}"
        )


def _with_gpus(experiment: Experiment, arguments: FairseqArguments, args: argparse.Namespace) -> Experiment:
    # fairseq uses all visible GPUs, each with its own batch, so their number changes the training.
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
    # Each rank needs CPUs for its threads, and for the processes that load its data.
    workers = arguments.value("--num-workers") or "1"
    return threads + (int(workers) if workers.isdigit() else 1)


def _run(given: Mapping[str, Any], words: Sequence[str]) -> None:
    chosen = with_probed_point(given, partial(_probe, words=words), partial(_prepare, words=words))
    if chosen is not None:
        _do(chosen, words)


def _probe(given: Mapping[str, Any], words: Sequence[str]) -> None:
    # Of --rewind auto: how the experiment's own runs are scored is not how the networks on a line are.
    _stability({name: value for name, value in given.items() if name not in SCORING_OPTIONS}, words)


def _stability(given: Mapping[str, Any], words: Sequence[str]) -> None:
    refuse_ticket_options(given)
    _do(given, words, partial(stability_report, threshold=threshold_of(given)))


def _prepare(
    given: Mapping[str, Any], words: Sequence[str], probes: bool = False
) -> tuple[Experiment, Fairseq, Executor, argparse.Namespace]:
    # The experiment, or the stability probe, what trains its runs, and all options, after everything is checked.
    args = resolve(given)
    _check_tasks(args)
    arguments = with_task(FairseqArguments(words))
    if probes:
        args = scored_on_the_line(args, arguments.task or "")
    experiment = _with_gpus(experiment_of(args, arguments), arguments, args)
    framework = Fairseq(args.launcher, not args.no_floor)
    gpus = [] if arguments.cpu else shares(visible_gpus(), args.jobs or 1)
    cpus = _cpus_of_a_gpu(arguments, args.threads)
    trainer = make_executor(args, framework.command, experiment.out, gpus, cpus)
    return _preflight(experiment, arguments, args, chosen_of(given), probes), framework, trainer, args


def _do(given: Mapping[str, Any], words: Sequence[str], finish: Callable[[Path], object] | None = None) -> None:
    # With a finish, the runs are those of a stability probe.
    experiment, framework, trainer, args = _prepare(given, words, finish is not None)
    arguments = FairseqArguments(experiment.settings["arguments"])
    if args.stop_at_floor is not None and not has_floor(experiment.scoring):
        raise ConfigError("--stop-at-floor: the score of a command of your own has no floor, leave it out")

    def training(run: Run) -> str:
        words = training_arguments(arguments, experiment, run, experiment.out)
        return shlex.join(training_command(words, args.launcher))

    planned = as_kept(experiment, chosen_of(given), args.budget)
    for line in (*search_lines(planned), *([] if experiment.probed is None else [probe_line(experiment)])):
        Progress(quiet=args.quiet).say(line)
    run_experiment(
        experiment,
        framework,
        trainer,
        args.dry_run,
        args.quiet,
        None,
        training,
        stop_at_floor=args.stop_at_floor,
        budget=args.budget,
        chosen=chosen_of(given),
        finish=finish,
    )


# Commands on the folder of an experiment: words before and after "--".
COMMANDS: dict[str, Callable[[Sequence[str], Sequence[str]], None]] = {"rescore": rescore, "floor": floor}


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``fairseq-lottery``.

    :param argv: command line, by default ``sys.argv[1:]``
    :returns: exit status: 0, 1 for a failed run, 2 for bad input, 130 after Ctrl-C
    """
    options, words = split(typed_words() if argv is None else argv)
    if options and options[0] in COMMANDS:
        return run_command(lambda: COMMANDS[options[0]](options[1:], words), f"fairseq-lottery {options[0]}")
    if options[:1] == [STABILITY]:
        probed = vars(stability_parser().parse_args(options[1:]))
        return run_command(lambda: _stability(probed, words), f"fairseq-lottery {STABILITY}")
    given = vars(parser().parse_args(options))
    return run_command(lambda: _run(given, words), "fairseq-lottery")
