"""Erasers follow the parameters from device to device; ``meta`` stands in for a GPU."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lottery_core import Masks
from lottery_core.masking import HeldMasks
from lottery_core.masking.guard import zero_every_gradient


def moved(dtype: torch.dtype = torch.float32) -> tuple[HeldMasks, nn.Parameter]:
    """Masks that were held over a parameter on the CPU, which is another on a GPU since."""
    on_cpu = nn.Parameter(torch.ones(4, 4))
    held = HeldMasks({"w": on_cpu}, Masks({"w": torch.eye(4, dtype=torch.bool)}))
    held.enforce()
    assert torch.equal(on_cpu.data, torch.eye(4))
    on_gpu = nn.Parameter(torch.ones(4, 4, device="meta", dtype=dtype))
    held.replace("w", on_gpu)
    del on_cpu
    return held, on_gpu


def kept(held: HeldMasks) -> list[torch.Tensor]:
    """The tensors that the erasers hold."""
    found = []
    for erasers in held._erasers.values():
        for eraser in erasers.values():
            found += [mask for mask in (eraser._bits, eraser._dead) if mask is not None]
    return found


def test_a_gpu_has_one_mask_for_all_types_and_the_cpu_none() -> None:
    """Weights in fp16, gradients and masters in fp32; before the move there was one of 4 bytes a parameter."""
    held, on_gpu = moved(torch.float16)
    for dtype in (torch.float16, torch.float32, torch.bfloat16):
        held.erase("w", torch.ones(4, 4, device="meta", dtype=dtype))
    (mask,) = kept(held)
    assert (mask.device.type, mask.dtype) == ("meta", torch.bool)
    assert on_gpu.shape == mask.shape


def test_values_elsewhere_leave_nothing_behind() -> None:
    """A state dict on the CPU, whose model is on a GPU."""
    held, on_gpu = moved()
    held.erase("w", on_gpu.data)
    state = torch.ones(4, 4)
    held.erase("w", state)
    assert torch.equal(state, torch.eye(4))
    assert [mask.device.type for mask in kept(held)] == ["meta"]


def test_before_a_model_moves_nothing_is_kept() -> None:
    on_cpu = nn.Parameter(torch.ones(4, 4))
    held = HeldMasks({"w": on_cpu}, Masks({"w": torch.eye(4, dtype=torch.bool)}))
    held.enforce_once()
    assert torch.equal(on_cpu.data, torch.eye(4))
    assert not kept(held)


def test_a_gradient_on_another_device_than_the_mask() -> None:
    held, on_gpu = moved()
    on_gpu.grad = torch.ones(4, 4, device="meta")
    held.zero_gradient("w", on_gpu, held.eraser("w", torch.ones(4, 4)))
    assert [mask.device.type for mask in kept(held)] == ["meta"]


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_every_gradient_is_masked_where_it_is(device: str) -> None:
    parameter = nn.Parameter(torch.ones(4, 4, device=device))
    zero_every_gradient(parameter, torch.eye(4, dtype=torch.bool))
    (gradient,) = torch.autograd.grad((parameter * 2).sum(), parameter)
    assert gradient.device.type == device
    if device == "cpu":
        assert torch.equal(gradient, 2 * torch.eye(4))
