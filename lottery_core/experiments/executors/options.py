"""Command line options that choose where the runs of an experiment train."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from lottery_core.errors import ConfigError, unknown_choice
from lottery_core.experiments.executors.local import Processes
from lottery_core.experiments.executors.slurm import MANY, RETRIES, Slurm
from lottery_core.experiments.executors.slurm_queue import gpus_of_a_task, slurm_options, tasks_of_a_node, with_cpus
from lottery_core.experiments.graph import Run
from lottery_core.experiments.protocols import Executor

LOCAL, SLURM = "local", "slurm"


def add_executor_options(group: argparse._ActionsContainer) -> None:
    """Add ``--jobs``, ``--threads``, ``--executor``, ``--slurm`` and ``--retries``.

    :param group: a parser or an argument group
    """
    add = group.add_argument
    add(
        "--jobs",
        type=int,
        metavar="N",
        default=None,
        help=f"number of parallel runs (default: 1; with Slurm {MANY} queued jobs)",
    )
    add("--threads", type=int, metavar="N", default=1, help="CPU threads of each run (default: 1)")
    add(
        "--executor",
        metavar="NAME",
        default=LOCAL,
        help=f"{LOCAL}: processes on this machine; {SLURM}: jobs of a cluster, through submitit (default: {LOCAL})",
    )
    add(
        "--slurm",
        metavar="NAME=VALUE,...",
        default=None,
        help="options of each job, e.g. partition=gpu,gpus_per_node=8,timeout_min=600 (default: timeout_min=1440)",
    )
    add(
        "--retries",
        type=int,
        metavar="N",
        default=None,
        help=f"resubmissions of a run whose job failed or vanished (default: {RETRIES})",
    )


def make_executor(
    args: argparse.Namespace,
    command: Callable[[Run, Path], list[str]],
    out: Path,
    gpus: Sequence[str] = (),
    cpus_of_a_gpu: int | None = None,
    cpus: int | None = None,
) -> Executor:
    """Make the executor that the command line options select.

    :param args: parsed arguments of :func:`add_executor_options`, and ``dry_run``
    :param command: returns the command line of a run, see
        :meth:`lottery_core.experiments.protocols.Framework.command`
    :param out: the experiment's folder
    :param gpus: GPUs for local processes, see :class:`~lottery_core.experiments.executors.local.Processes`; Slurm
        assigns those of its jobs
    :param cpus_of_a_gpu: CPUs that a job needs for each of its GPUs, by default ``--threads``
    :param cpus: minimum number of CPUs of a job, by default ``--threads``
    :returns: the executor
    :raises ConfigError: the executor is unknown, an option belongs to another executor, or Slurm is not installed
    """
    if args.executor not in (LOCAL, SLURM):
        raise unknown_choice(args.executor, "executor", (LOCAL, SLURM))
    if args.executor == LOCAL:
        for name in ("slurm", "retries"):
            if getattr(args, name) is not None:
                raise ConfigError(f"--{name} is for --executor slurm")
        return Processes(command, 1 if args.jobs is None else args.jobs, args.threads, gpus)
    options = with_cpus(slurm_options(args.slurm or ""), cpus or args.threads, cpus_of_a_gpu or args.threads)
    retries = RETRIES if args.retries is None else args.retries
    jobs = MANY if args.jobs is None else args.jobs
    dry_run = getattr(args, "dry_run", False)  # rescore has no such option
    return Slurm(command, out, options, jobs, args.threads, retries, require_installed=not dry_run)


def gpus_of_a_job(args: argparse.Namespace) -> int:
    """Return the number of GPUs that ``--slurm`` requests for a job, on all of its nodes; 0 if it requests none."""
    return gpus_of_a_task(slurm_options(args.slurm or "")) * tasks_of_a_job(args)


def tasks_of_a_job(args: argparse.Namespace) -> int:
    """Return the number of tasks that ``--slurm`` requests for a job, on all of its nodes."""
    return tasks_of_a_node(slurm_options(args.slurm or "")) * nodes_of_a_job(args)


def nodes_of_a_job(args: argparse.Namespace) -> int:
    """Return the number of nodes that ``--slurm`` requests for a job."""
    return int(slurm_options(args.slurm or "").get("nodes", 1))
