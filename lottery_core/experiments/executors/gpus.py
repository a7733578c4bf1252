"""The GPUs of this machine, and how runs side by side share them."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch


def visible_gpus() -> list[str]:
    """The GPUs that torch sees here, as ``CUDA_VISIBLE_DEVICES`` names them."""
    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",")[:count] if named else [str(index) for index in range(count)]


def shares(gpus: Sequence[str], jobs: int) -> list[str]:
    """Equal shares of ``gpus`` for ``jobs`` runs side by side, each a value of ``CUDA_VISIBLE_DEVICES``.

    As many GPUs in each, since they can decide the size of a batch; what cannot be shared equally stays idle.

    :param gpus: from :func:`visible_gpus`
    :param jobs: how many runs at a time
    :returns: one share a job, single GPUs where there are more jobs; none for one job or one GPU: it sees all
    """
    if jobs < 2 or len(gpus) < 2:
        return []
    size = max(1, len(gpus) // jobs)
    return [",".join(gpus[start : start + size]) for start in range(0, size * min(jobs, len(gpus)), size)]
