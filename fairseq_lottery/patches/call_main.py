"""Training on several ranks without GPUs: find the rank, and refuse launches that would train nothing.

Mends ``fairseq/distributed/utils.py:call_main``, which counts ranks in GPUs:

- ``cfg.device_id = cfg.distributed_rank % torch.cuda.device_count()`` (``_infer_torch_distributed_launch_init``)
  divides by zero under torchrun without GPUs;
- ``cfg.distributed_world_size = nnodes * gpus_per_node`` (``_infer_slurm_init``) is zero without GPUs;
- ``torch.multiprocessing.spawn(..., nprocs=min(torch.cuda.device_count(), ...))`` (``call_main``) starts no process
  without GPUs, and exits with status 0.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from fairseq.distributed import utils

from fairseq_lottery.patches.wrap_once import wrap_once
from lottery_core.errors import ConfigError

_TORCHRUN = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK")


def install() -> None:
    """Replace ``distributed.utils.call_main``; calling it again changes nothing."""
    wrap_once(utils, "call_main", _preparing)


def _preparing(original: Callable[..., Any]) -> Callable[..., Any]:
    def call_main(cfg: Any, main: Any, **kwargs: Any) -> Any:
        prepare(cfg.distributed_training)
        return original(cfg, main, **kwargs)

    return call_main


def prepare(options: Any) -> None:
    """Without GPUs, set rank and world size from torchrun or Slurm; with GPUs, leave everything to fairseq.

    :param options: fairseq's ``distributed_training`` section, changed in place
    :raises ConfigError: the ranks need GPUs, or fairseq would start as many processes as there are GPUs, which is none
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
        # There are fewer GPUs than ranks; as its last act fairseq would choose a GPU for this rank.
        with suppress(AssertionError, AttributeError, RuntimeError):
            utils.infer_init_method(options)  # Slurm may have started one process per rank
        if not options.distributed_world_size and "SLURM_NODEID" in os.environ:
            # Slurm started one process per node, and fairseq has multiplied the nodes by the GPUs.
            options.distributed_world_size = int(os.environ["SLURM_NNODES"])
            options.distributed_rank = int(os.environ["SLURM_NODEID"])
            options.distributed_no_spawn = True
    if not options.distributed_no_spawn:
        raise ConfigError(
            f"{options.distributed_world_size} ranks, but fairseq starts one process per GPU and there is no GPU: "
            "nothing would be trained; start one process per rank, e.g. with torchrun, and add --distributed-no-spawn"
        )
