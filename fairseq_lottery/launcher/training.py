"""The arguments of ``fairseq-train`` for one run of an experiment."""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from fairseq_lottery.argv import FairseqArguments
from fairseq_lottery.checkpoint import CheckpointProgress, load_state
from fairseq_lottery.launcher.options import parse_fairseq
from fairseq_lottery.names import INITIAL_WEIGHTS, LAST
from fairseq_lottery.task import Beginning
from lottery_core.errors import RunError
from lottery_core.experiments import KEPT, NOTHING, REMAINING, Experiment, Run, dense, paths, start_folder
from lottery_core.pruning import BUDGET, CHAINS, CONTROLS, DENSE, IN_TRAINING, level_after, starts_rewound
from lottery_core.tickets import ALL, Weights

# Options that name a file or folder to which every run would write.
_A_PLACE_OF_ITS_OWN = ("--tensorboard-logdir", "--log-file")
# Lengths of learning-rate schedules, in updates or epochs from the start.
_OF_THE_SCHEDULE = (
    *("--total-num-update", "--lr-period-updates", "--force-anneal"),
    *("--hold-steps", "--decay-steps", "--lr-deacy-period"),  # of tri_stage and step; fairseq spells it so
)

_RESETS = ("--reset-optimizer", "--reset-lr-scheduler", "--reset-dataloader", "--reset-meters")


def training_arguments(arguments: FairseqArguments, experiment: Experiment, run: Run, out: Path) -> FairseqArguments:
    """Make the arguments of ``fairseq-train`` for a run.

    :param arguments: the user's own arguments
    :param experiment: the experiment
    :param run: the run: dense, a ticket, or a control
    :param out: folder of the experiment; for ``--rewind none`` it must contain the finished dense run
    """
    folder = out / run.folder
    arguments = _apart(arguments, run)
    arguments = arguments.with_user_dir().plus("--save-dir", str(folder), "--seed", str(run.noise_seed))
    arguments = arguments.plus("--mask-watch")
    if arguments.log_format is None:
        arguments = arguments.plus("--log-format", "json")
    count = experiment.scoring["average"]
    if count > 1 and arguments.keep_last_epochs is None:
        arguments = arguments.plus("--keep-last-epochs", str(count))
    elif count == 1 and not arguments.no_epoch_checkpoints and not _keeps_epochs(arguments):
        arguments = arguments.plus("--no-epoch-checkpoints")
    if not run.has_ticket:
        if experiment.probed is not None:
            arguments = arguments.plus("--probe-points", " ".join(experiment.probed.points))
        return arguments if experiment.rewind in KEPT else arguments.plus("--rewind-point", experiment.rewind)
    # A ticket has its own initial weights; what loading others would reset must not be reset when it resumes.
    arguments = arguments.without(*INITIAL_WEIGHTS, "--optimizer-overrides").without_flags(*_RESETS)
    before = out / dense(run.seed).folder
    if run.kind in BUDGET:
        arguments = with_whole_budget(arguments, experiment, run, before)
    late = begins_late(experiment, run)
    if late:
        arguments = arguments.plus("--after-rewind", REMAINING)
    if late or run.kind in CONTROLS:
        arguments = arguments.plus("--rewind", str(out / start_folder(run) / paths.REWIND))
    if run.kind in IN_TRAINING:
        share = surviving_share(experiment, run, before)
        arguments = arguments.plus("--ticket", str(folder / paths.START), "--ticket-kind", run.kind)
        return arguments.plus("--surviving", repr(share), "--gradual", experiment.gradual)
    if run.kind not in CONTROLS or run.repeats:
        rewinds = run.kind in CHAINS and CHAINS[run.kind].rewinds
        if experiment.rewind == NOTHING and rewinds and (before / LAST).exists():
            arguments = at_one_rate(arguments, last_rate(before, arguments))
        return arguments.plus("--ticket", str(folder / paths.TICKET))
    winning = out / run.winning.folder / paths.TICKET
    arguments = arguments.plus("--ticket", str(winning), "--ticket-kind", run.kind)
    if tuple(experiment.scope) != (ALL,):
        arguments = arguments.plus("--outside", experiment.outside)
    return arguments.plus("--ticket-seed", str(run.control_seed))


def _keeps_epochs(arguments: FairseqArguments) -> bool:
    # The user wants checkpoints of epochs, perhaps to average them later.
    return any(arguments.value(name) is not None for name in ("--keep-last-epochs", "--save-interval"))


def begins_late(experiment: Experiment, run: Run) -> bool:
    """Return whether a run begins at the rewind point, as tickets that are rewound to it do, and their controls.

    :param experiment: the experiment
    :param run: one of its runs
    """
    from_the_start = run.kind in (*CHAINS, *IN_TRAINING) and not starts_rewound(run.kind)
    return experiment.after_rewind == REMAINING and run.kind not in (DENSE, *BUDGET) and not from_the_start


def with_whole_budget(arguments: FairseqArguments, experiment: Experiment, run: Run, before: Path) -> FairseqArguments:
    """Make a run as long as finding and training the winning ticket of its round: dense, and a ticket in each round.

    Lengths of a schedule are multiplied, too, so that it stretches over the run.

    :param arguments: arguments of ``fairseq-train``
    :param experiment: the experiment
    :param run: the run
    :param before: folder of the dense run
    """
    times = 1.0 + run.round
    if experiment.after_rewind == REMAINING and (before / paths.REWIND_COUNTS).exists() and (before / LAST).exists():
        updates = CheckpointProgress.of(before / LAST).updates
        total = updates + run.round * (updates - Beginning.beside(before / paths.REWIND).updates)
        times = total / updates
        arguments = arguments.without("--max-epoch", "--max-update").plus("--max-update", str(total))
        options: tuple[str, ...] = _OF_THE_SCHEDULE
    else:
        options = ("--max-epoch", "--max-update", *_OF_THE_SCHEDULE)
    for option in options:
        value = arguments.value(option)
        with suppress(TypeError, ValueError):  # not given, or no number, which fairseq will say
            longer = times * float(value)  # type: ignore[arg-type]
            word = str(round(longer)) if str(value).isdecimal() else repr(longer)
            arguments = arguments.without(option).plus(option, word)
    return arguments


def surviving_share(experiment: Experiment, run: Run, before: Path) -> float:
    """Return the share of the pool that survives in a run's round: the schedule's count, to the parameter.

    Before the dense run has begun, the size of the pool is not known, and the share is that of the schedule.

    :param experiment: the experiment
    :param run: one of its runs
    :param before: folder of the dense run
    """
    if not (before / paths.INIT).exists():
        return level_after(run.round, experiment.prune_rate, experiment.first)
    start = Weights.load(before / paths.INIT)
    pool = sum(start.tensors[name].numel() for name in start.pool(experiment.scope))
    return experiment.survivors(pool, run.round) / pool


def training_command(arguments: FairseqArguments, launcher: str | None) -> list[str]:
    """Make the command line of ``fairseq-train``.

    :param arguments: its arguments, see :func:`training_arguments`
    :param launcher: command that starts training instead of python
    """
    start = [sys.executable] if launcher is None else shlex.split(launcher)
    return [*start, "-m", "fairseq_cli.train", *arguments.words]


def _apart(arguments: FairseqArguments, run: Run) -> FairseqArguments:
    for option in _A_PLACE_OF_ITS_OWN:
        value = arguments.value(option)
        if value is not None:
            place = Path(value)
            own = place / run.folder if option.endswith("dir") else place.parent / run.folder / place.name
            arguments = arguments.without(option).plus(option, str(own))
    return arguments


def at_one_rate(arguments: FairseqArguments, rate: float) -> FairseqArguments:
    """Replace the learning-rate schedule by a constant rate.

    :param arguments: arguments of ``fairseq-train``
    :param rate: the rate
    """
    from fairseq.optim.lr_scheduler import LR_SCHEDULER_DATACLASS_REGISTRY, LR_SCHEDULER_REGISTRY

    name = arguments.value("--lr-scheduler") or "fixed"
    flags: set[str] = set()
    valued = {"--lr", "--lr-scheduler"}
    config = LR_SCHEDULER_DATACLASS_REGISTRY.get(name)
    for entry in fields(config) if config is not None else ():
        if str(entry.default).startswith("${") and not entry.metadata.get("help"):  # an option of another section
            continue
        options = [f"--{entry.name.replace('_', '-')}", entry.metadata.get("argparse_alias")]
        (flags if entry.type in (bool, "bool") else valued).update(filter(None, options))
    if config is None and name in LR_SCHEDULER_REGISTRY:  # manual, whose options are those of a parser
        parser = argparse.ArgumentParser(add_help=False)
        LR_SCHEDULER_REGISTRY[name].add_args(parser)
        valued.update(option for action in parser._actions for option in action.option_strings)
    arguments = arguments.without(*valued).without_flags(*flags)
    return arguments.plus("--lr-scheduler", "fixed", "--lr", repr(rate))


def last_rate(folder: Path, arguments: FairseqArguments) -> float:
    """Return the learning rate of the last update of a finished run.

    :param folder: folder of the run
    :param arguments: the arguments of its training
    :raises RunError: the checkpoint does not contain it, or it is 0
    """
    state: Any = load_state(folder / LAST)
    try:
        rate = float(state["last_optimizer_state"]["param_groups"][0]["lr"])
        rate = _rate_before(rate, state["optimizer_history"][-1], CheckpointProgress.of(folder / LAST), arguments)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise RunError(
            f"--rewind {NOTHING} continues at the last learning rate, and {folder / LAST} does not have it: leave "
            "--no-save-optimizer-state out, or restart the schedule, with --rewind-what lr",
            2,
        ) from error
    if not rate:
        raise RunError(f"--rewind {NOTHING} continues at the last learning rate, which is 0: use --rewind-what lr", 2)
    return rate


def _rate_before(rate: float, history: Any, progress: CheckpointProgress, arguments: FairseqArguments) -> float:
    # fairseq sets the rate of the next update after each one; a schedule by updates gives the one before it.
    from fairseq import optim
    from fairseq.optim import lr_scheduler

    cfg = parse_fairseq(arguments)
    optimizer = optim.build_optimizer(cfg.optimizer, [torch.nn.Parameter(torch.zeros(1))])
    schedule = lr_scheduler.build_lr_scheduler(cfg.lr_scheduler, optimizer)
    schedule.load_state_dict(dict(history["lr_scheduler_state"]))
    schedule.step_begin_epoch(progress.epoch - (progress.batches == 0))
    known = math.isclose(float(schedule.step_update(progress.updates)), rate, rel_tol=1e-6)
    return float(schedule.step_update(progress.updates - 1)) if known else rate
