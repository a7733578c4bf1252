"""Erasers follow the parameters from device to device (``meta`` stands in for a GPU); a NaN is called what it is."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lottery_core import MaskKeeper, Masks, apply_ticket, prune, snapshot
from lottery_core.errors import PrunedWeightAlive
from lottery_core.masking import HeldMasks
from lottery_core.masking.guard import zero_every_gradient
from tests.lottery_core.helpers import mlp


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


@pytest.mark.parametrize("begin", [5, 34])
@pytest.mark.filterwarnings("error")
def test_a_training_that_diverges_has_revived_nothing(begin: int) -> None:
    """Clipping by a norm that is NaN makes all gradients NaN, after those of pruned parameters were zeroed."""
    model = mlp()
    weights = snapshot(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    keeper = apply_ticket(prune(weights, weights, rate=0.5), model, optimizer)
    for step in range(36):
        optimizer.zero_grad()
        (model(torch.ones(2, 4)).sum() * (1.0 if step < begin else torch.nan)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    with pytest.raises(PrunedWeightAlive, match=r"are NaN, and survivors .* as well: the training has diverged$"):
        keeper.check()


def test_a_nan_among_pruned_parameters_alone_is_no_divergence() -> None:
    held = HeldMasks({"w": (parameter := nn.Parameter(torch.ones(4)))}, Masks({"w": torch.tensor([1, 1, 0, 0])}))
    held.enforce()
    assert not held.has_diverged()
    parameter.data[3] = torch.nan
    with pytest.raises(PrunedWeightAlive, match="1 pruned parameters of 'w' are alive"):
        held.check()
    parameter.data[0] = torch.inf
    assert held.has_diverged()
    parameter.data[2] = 1.0
    assert not held.has_diverged()


def test_state_that_is_a_single_tensor_is_zeroed_and_what_is_none_is_let_be() -> None:
    held = HeldMasks({"w": (parameter := nn.Parameter(torch.ones(4)))}, Masks({"w": torch.tensor([1, 1, 0, 0])}))
    buffer = torch.ones(4)
    held.zero_state({parameter: buffer})
    assert buffer.tolist() == [1, 1, 0, 0]
    held.zero_state({parameter: 3})


def test_a_gradient_whose_elements_share_memory_is_masked() -> None:
    parameter = nn.Parameter(torch.ones(2, 2))
    held = HeldMasks({"w": parameter}, Masks({"w": torch.eye(2)}))
    parameter.grad = torch.ones(()).expand(2, 2)
    held.zero_gradients()
    assert torch.equal(parameter.grad, torch.eye(2))


def test_numbers_of_sixteen_bytes() -> None:
    parameter = nn.Parameter(torch.ones(4, dtype=torch.complex128))
    keeper = MaskKeeper({"w": parameter}, Masks({"w": torch.tensor([1, 0, 1, 0])})).attach()
    assert parameter.tolist() == [1, 0, 1, 0]
    keeper.detach()
