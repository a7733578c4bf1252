"""Training on several ranks: set up ranks without GPUs, and refuse launches that would train nothing.

Mends ``fairseq/distributed/utils.py:call_main``, which derives ranks from the number of GPUs, even with ``--cpu``:

- ``cfg.device_id = cfg.distributed_rank % torch.cuda.device_count()`` (``_infer_torch_distributed_launch_init``)
  divides by zero under torchrun without GPUs;
- ``cfg.distributed_world_size = nnodes * gpus_per_node`` (``_infer_slurm_init``) is zero without GPUs;
- ``torch.multiprocessing.spawn(..., nprocs=min(torch.cuda.device_count(), ...))`` (``call_main``) starts no process
  without GPUs, and exits with status 0;
- ``default=max(1, torch.cuda.device_count())`` (``fairseq/dataclass/configs.py``, the world size) gives a run with
  ``--cpu`` as many ranks as the machine has GPUs;
- ``cfg.device_id = int(os.environ.get("SLURM_LOCALID"))`` (``_infer_slurm_init``) names a GPU that is not visible to
  the task if Slurm gives each task its own (``--gpus-per-task``).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from fairseq.distributed import utils

from fairseq_lottery.patches.wrap_once import wrap_once
from lottery_core.errors import ConfigError
from lottery_core.experiments.executors import hide_gpus

_TORCHRUN = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK")


def install() -> None:
    """Replace ``distributed.utils.call_main``; calling it again changes nothing."""
    wrap_once(utils, "call_main", _preparing)


def _preparing(original: Callable[..., Any]) -> Callable[..., Any]:
    def call_main(cfg: Any, main: Any, **kwargs: Any) -> Any:
        prepare(cfg.distributed_training, bool(cfg.common.cpu))
        return original(cfg, main, **kwargs)

    return call_main


def prepare(options: Any, cpu: bool = False) -> None:
    """Without GPUs, set rank and world size from torchrun or Slurm; with GPUs, leave nearly everything to fairseq.

    :param options: fairseq's ``distributed_training`` section, changed in place
    :param cpu: whether to train on the CPU even if there are GPUs
    :raises ConfigError: the ranks need GPUs, or fairseq would start one process per GPU although there are none
    """
    gpus = torch.cuda.device_count()
    if options.tpu:
        return
    if gpus and not cpu:
        _choose_visible_gpu(gpus)
        return
    if gpus:
        hide_gpus()
        if options.distributed_world_size == gpus and not _world_size_given() and "WORLD_SIZE" not in os.environ:
            options.distributed_world_size = 1
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
        # There are fewer GPUs than ranks; fairseq's last step here is to choose a GPU for this rank.
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


def _world_size_given() -> bool:
    # Given as an option of fairseq-train or an override of fairseq-hydra-train; else it is the number of GPUs.
    return any("distributed-world-size" in word.replace("_", "-") for word in sys.argv)


def _choose_visible_gpu(gpus: int) -> None:
    local = os.environ.get("SLURM_LOCALID", "")
    if local.isdigit() and int(local) >= gpus:
        os.environ["SLURM_LOCALID"] = str(int(local) % gpus)
