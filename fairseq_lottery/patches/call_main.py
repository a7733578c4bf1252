"""Launches of several processes: torchrun without GPUs; those in which fairseq trains nothing, or all of it twice."""

from __future__ import annotations

import functools
import multiprocessing
import os
from contextlib import suppress
from typing import Any

import torch
from fairseq.distributed import utils
from fairseq.models import distributed_fairseq_model

from lottery_core.errors import ConfigError
from lottery_core.experiments.executors import die_with

_TORCHRUN = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK")


def install() -> None:
    """Look at every launch before fairseq acts on it; doing it twice is fine."""
    plain = utils.call_main
    if getattr(plain, "of_lottery", False):
        return

    @functools.wraps(plain)
    def call_main(cfg: Any, main: Any, **kwargs: Any) -> Any:
        prepare(cfg.distributed_training)
        return plain(cfg, main, **kwargs)

    call_main.of_lottery = True  # type: ignore[attr-defined]
    utils.call_main = call_main
    end_with = die_with(os.getppid())
    if end_with is not None and "TORCHELASTIC_RUN_ID" in os.environ and multiprocessing.parent_process() is None:
        end_with()  # torchrun puts each rank in a session of its own: killed, it would leave them training


def prepare(options: Any) -> None:
    """Without GPUs: take the ranks from torchrun, whose number fairseq would divide by that of the GPUs; name no GPU.

    :param options: fairseq's ``distributed_training``, filled in place
    :raises ConfigError: fairseq would start as many processes as there are GPUs, none, and end well; or ranks need GPUs
    """
    if options.tpu or torch.cuda.device_count():
        return
    if options.distributed_world_size == 1 and options.distributed_init_method is None:
        return
    if options.distributed_init_method is None and all(name in os.environ for name in _TORCHRUN):
        options.distributed_init_method = "env://"
        options.distributed_world_size = int(os.environ["WORLD_SIZE"])
        options.distributed_rank = int(os.environ["RANK"])
        options.distributed_no_spawn = True
    if options.distributed_backend == "nccl":
        raise ConfigError("--distributed-backend nccl, the default, needs GPUs: add --distributed-backend gloo")
    if not options.distributed_no_spawn:
        # It has fewer GPUs than ranks; as its last act it would choose one for this rank.
        with suppress(AssertionError, AttributeError, RuntimeError):
            utils.infer_init_method(options)  # Slurm may have started one process a rank
        if not options.distributed_world_size and "SLURM_NODEID" in os.environ:
            # One process a node: fairseq has multiplied nodes by GPUs.
            options.distributed_world_size = int(os.environ["SLURM_NNODES"])
            options.distributed_rank = int(os.environ["SLURM_NODEID"])
            options.distributed_no_spawn = True
    if not options.distributed_no_spawn:
        raise ConfigError(
            f"{options.distributed_world_size} ranks, but fairseq starts one process a GPU and there is none: nothing "
            "would be trained; start one process a rank, e.g. with torchrun, and add --distributed-no-spawn"
        )
    distributed_fairseq_model.DistributedDataParallel = _wrap_on_the_cpu


def _wrap_on_the_cpu(**options: Any) -> Any:
    # fairseq names a GPU in any case.
    return torch.nn.parallel.DistributedDataParallel(**(options | {"device_ids": None, "output_device": None}))
