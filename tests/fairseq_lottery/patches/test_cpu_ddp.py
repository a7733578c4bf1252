"""``--ddp-backend c10d`` on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq.models import distributed_fairseq_model
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from fairseq_lottery.patches import cpu_ddp
from tests.fairseq_lottery.patches.upstream import source

GPU: dict[str, Any] = {"device_ids": [0], "output_device": 0}


@pytest.fixture
def one_rank(tmp_path: Path) -> Iterator[None]:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_upstream_names_a_gpu() -> None:
    wrap = source(distributed_fairseq_model.DistributedFairseqModel)
    assert "device_ids=[args.device_id], output_device=args.device_id," in wrap


@pytest.mark.usefixtures("one_rank")
def test_a_model_on_the_cpu_is_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ValueError, match="device_ids"):
        DistributedDataParallel(module=nn.Linear(2, 2), **GPU)
    cpu_ddp.install()
    wrapped = distributed_fairseq_model.DistributedDataParallel(module=nn.Linear(2, 2), **GPU)
    assert isinstance(wrapped, DistributedDataParallel)
    assert wrapped(torch.ones(1, 2)).shape == (1, 2)


@pytest.mark.parametrize(("device", "given"), [("meta", GPU), ("cpu", {"device_ids": None, "output_device": None})])
def test_the_models_device_decides(device: str, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Not whether the machine has GPUs; ``meta`` stands in for one."""
    seen: list[Any] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(cpu_ddp, "DistributedDataParallel", lambda **options: seen.append(options))
    module = nn.Linear(2, 2, device=device)
    distributed_fairseq_model.DistributedDataParallel(module=module, **GPU)
    assert seen == [{"module": module, **given}]
