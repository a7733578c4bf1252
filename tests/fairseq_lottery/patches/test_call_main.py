"""Ranks without GPUs: found from the launcher, or refused."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fairseq.distributed import utils

from fairseq_lottery.patches import call_main
from lottery_core.errors import ConfigError
from tests.fairseq_lottery.patches.upstream import source

ORIGINAL = inspect.unwrap(utils.call_main)
TORCHRUN = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29501", "WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}


@pytest.fixture(autouse=True)
def no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)


def options(**more: Any) -> Any:
    values = {"tpu": False, "distributed_world_size": 2, "distributed_rank": 0, "distributed_init_method": None}
    values |= {"distributed_no_spawn": False, "distributed_backend": "gloo", "distributed_port": -1, "device_id": 0}
    values |= {"pipeline_model_parallel": False, "distributed_num_procs": None}
    return SimpleNamespace(**(values | more))


def test_upstream_counts_ranks_in_gpus() -> None:
    assert "nprocs=min( torch.cuda.device_count()," in source(ORIGINAL)
    assert "cfg.device_id = cfg.distributed_rank % torch.cuda.device_count()" in source(
        utils._infer_torch_distributed_launch_init
    )
    assert "cfg.distributed_world_size = nnodes * gpus_per_node" in source(utils._infer_slurm_init)


def test_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ZeroDivisionError):
        utils.infer_init_method(options())
    prepared = options()
    call_main.prepare(prepared)
    assert (prepared.distributed_world_size, prepared.distributed_rank) == (2, 1)
    assert prepared.distributed_init_method == "env://"
    assert prepared.distributed_no_spawn


def test_a_launch_that_would_train_nothing() -> None:
    trained: list[object] = []
    cfg = SimpleNamespace(
        common=SimpleNamespace(tpu=False, cpu=True),
        distributed_training=options(distributed_init_method="tcp://127.0.0.1:29501"),
    )
    ORIGINAL(cfg, trained.append)  # ends well
    assert not trained
    cfg.distributed_training = options(distributed_init_method="tcp://127.0.0.1:29501")
    with pytest.raises(ConfigError, match="nothing would be trained; start one process per rank"):
        utils.call_main(cfg, trained.append)


def test_one_process_is_left_to_fairseq() -> None:
    trained: list[object] = []
    cfg = SimpleNamespace(
        common=SimpleNamespace(tpu=False, cpu=True), distributed_training=options(distributed_world_size=1)
    )
    utils.call_main(cfg, trained.append)
    assert trained == [cfg]
    patched = utils.call_main
    call_main.install()
    assert utils.call_main is patched


def test_on_the_cpu_gpus_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """fairseq takes their number for the world size; a number that was asked for stays."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3,4,5,6,7")
    default = options(distributed_world_size=8, distributed_backend="nccl")
    call_main.prepare(default, cpu=True)
    assert (default.distributed_world_size, os.environ["CUDA_VISIBLE_DEVICES"]) == (1, "")
    monkeypatch.setattr(sys, "argv", ["fairseq-train", "--distributed-world-size", "8"])
    with pytest.raises(ConfigError, match="--distributed-backend gloo"):
        call_main.prepare(options(distributed_world_size=8, distributed_backend="nccl"), cpu=True)


def test_each_task_of_slurm_with_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """``--gpus-per-task=1``: the sixth task of a node sees one GPU, which is the first that it sees."""
    tasks = {"SLURM_JOB_NODELIST": "node1", "SLURM_NNODES": "1", "SLURM_NTASKS_PER_NODE": "8", "SLURM_NTASKS": "8"}
    for name, value in {**tasks, "SLURM_PROCID": "5", "SLURM_LOCALID": "5"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(subprocess, "check_output", lambda _: b"node1\n")
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    for gpus, device in ((8, 5), (1, 0)):
        monkeypatch.setattr(torch.cuda, "device_count", lambda gpus=gpus: gpus)
        prepared = options(distributed_world_size=8, distributed_backend="nccl", distributed_port=29500)
        call_main.prepare(prepared)
        utils.infer_init_method(prepared)
        assert (prepared.distributed_rank, prepared.device_id) == (5, device)
    assert chosen == [5]  # the first is chosen already
