"""Where the runs of an experiment train: the options that every plugin's command has for it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from lottery_core.errors import ConfigError, unknown_choice
from lottery_core.experiments.executors.local import Processes
from lottery_core.experiments.executors.slurm import MANY, RETRIES, Slurm
from lottery_core.experiments.executors.slurm_queue import slurm_options
from lottery_core.experiments.plan import Run
from lottery_core.experiments.protocols import Executor

LOCAL, SLURM = "local", "slurm"


def add_executor_options(group: argparse._ActionsContainer) -> None:
    """Add ``--jobs``, ``--threads``, ``--executor``, ``--slurm`` and ``--retries`` to a parser or a group of one."""
    add = group.add_argument
    add("--jobs", type=int, metavar="N", default=None, help=f"runs trained side by side (1; in Slurm's queue {MANY})")
    add("--threads", type=int, metavar="N", default=1, help="threads of each run on the CPU (1)")
    add(
        "--executor",
        metavar="NAME",
        default=LOCAL,
        help=f"{LOCAL}: processes on this machine; {SLURM}: jobs of a cluster, by submitit ({LOCAL})",
    )
    add(
        "--slurm",
        metavar="NAME=VALUE,...",
        default=None,
        help="of each job, e.g. partition=gpu,gpus_per_node=8,timeout_min=600 (timeout_min=1440)",
    )
    add(
        "--retries",
        type=int,
        metavar="N",
        default=None,
        help=f"how often a run is submitted again whose job failed or vanished ({RETRIES})",
    )


def executor(
    args: argparse.Namespace, command: Callable[[Run, Path], list[str]], out: Path, gpus: Sequence[str] = ()
) -> Executor:
    """The executor that the options ask for.

    :param args: with the options of :func:`add_executor_options`
    :param command: see :class:`~lottery_core.experiments.executors.local.Processes`
    :param out: the experiment's folder
    :param gpus: see :class:`~lottery_core.experiments.executors.local.Processes`; a job has what Slurm gives it
    :raises ConfigError: unknown executor, options of the other one, or no Slurm here
    """
    if args.executor not in (LOCAL, SLURM):
        raise unknown_choice(args.executor, "executor", (LOCAL, SLURM))
    if args.executor == LOCAL:
        for name in ("slurm", "retries"):
            if getattr(args, name) is not None:
                raise ConfigError(f"--{name} is for --executor slurm")
        return Processes(command, 1 if args.jobs is None else args.jobs, args.threads, gpus)
    options = slurm_options(args.slurm or "")
    retries = RETRIES if args.retries is None else args.retries
    jobs = MANY if args.jobs is None else args.jobs
    return Slurm(command, out, options, jobs, args.threads, retries, here=not args.dry_run)


def gpus_of_a_job(args: argparse.Namespace) -> int:
    """How many GPUs a job of ``--slurm`` has, on all of its nodes; 0 where it says nothing of them."""
    options = slurm_options(args.slurm or "")
    each = options.get("gpus_per_node", options.get("gpus_per_task", 0))
    return int(each) * nodes_of_a_job(args)


def nodes_of_a_job(args: argparse.Namespace) -> int:
    """On how many nodes a job of ``--slurm`` runs."""
    return int(slurm_options(args.slurm or "").get("nodes", 1))
