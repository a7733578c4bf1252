"""Half precision without a GPU names the option that it needs; that a training does so is in ``task/test_refusals``."""

from __future__ import annotations

import inspect

import pytest
import torch
from fairseq.optim.fp16_optimizer import FP16Optimizer

from fairseq_lottery.patches import fp16_on_cpu, require_flat_masters
from lottery_core.errors import ConfigError
from tests.fairseq_lottery.patches.upstream import source


def test_upstream_asks_for_the_current_gpu() -> None:
    assert "devices = [torch.cuda.current_device()]" in source(FP16Optimizer.build_fp32_params)
    assert "fp32_params = cls.build_fp32_params(cfg.optimizer, params, flatten=flatten)" in source(
        FP16Optimizer.build_optimizer
    )


def test_flat_masters_need_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> int:
        raise AssertionError("Torch not compiled with CUDA enabled")

    fp16_on_cpu.install()
    monkeypatch.setattr(torch.cuda, "current_device", none)
    with pytest.raises(ConfigError, match="needs --fp16-no-flatten-grads"):
        require_flat_masters()
    weights = [torch.nn.Parameter(torch.ones(3, dtype=torch.float16))]
    with pytest.raises(ConfigError, match="needs --fp16-no-flatten-grads"):
        FP16Optimizer.build_fp32_params(None, weights, flatten=True)
    [master] = FP16Optimizer.build_fp32_params(None, weights, flatten=False)
    assert master.dtype == torch.float32
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    require_flat_masters()
    assert inspect.unwrap(FP16Optimizer.build_fp32_params) is not FP16Optimizer.build_fp32_params
