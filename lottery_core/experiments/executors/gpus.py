"""The GPUs and cores of this machine or job, and how parallel runs share them."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch


def visible_gpus() -> list[str]:
    """Return the GPUs that torch sees, as ``CUDA_VISIBLE_DEVICES`` names them."""
    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",")[:count] if named else [str(index) for index in range(count)]


def cores() -> int:
    """Return the number of cores that this process may use: those of its Slurm job, or of this machine."""
    of_the_job = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if of_the_job.isdigit() and int(of_the_job):
        return int(of_the_job)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def hide_gpus() -> None:
    """Hide all GPUs from this process, before it uses one, and from its children.

    For runs on the CPU, because a framework may otherwise start one rank per GPU.
    """
    os.environ["CUDA_VISIBLE_DEVICES"] = ""


def shares(gpus: Sequence[str], jobs: int) -> list[str]:
    """Split the GPUs equally among parallel runs.

    Every share has the same number of GPUs, because that number can determine the batch size; leftover GPUs stay idle.

    :param gpus: names of GPUs, from :func:`visible_gpus`
    :param jobs: number of parallel runs
    :returns: one value of ``CUDA_VISIBLE_DEVICES`` per run, or one per GPU if there are fewer GPUs than runs; empty for
        a single run or a single GPU, which need no split
    """
    if jobs < 2 or len(gpus) < 2:
        return []
    size = max(1, len(gpus) // jobs)
    return [",".join(gpus[start : start + size]) for start in range(0, size * min(jobs, len(gpus)), size)]
