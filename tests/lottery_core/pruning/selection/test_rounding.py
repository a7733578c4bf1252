"""Ties of weights that were rounded to fp16 or bf16 are spread over the pool."""

from __future__ import annotations

import warnings

import pytest
import torch

from lottery_core import control_ticket, prune
from lottery_core.pruning import prune_masks
from lottery_core.pruning.selection.rounding import rounded_to, spread
from lottery_core.tickets import Ticket, Weights


def network(dtype: torch.dtype | None, stored: torch.dtype = torch.float32) -> Weights:
    """Twenty equal layers of 10,000 weights."""
    generator = torch.Generator().manual_seed(1)
    tensors = {f"layer{index:02d}.weight": torch.randn(100, 100, generator=generator) for index in range(20)}
    if dtype is not None:
        tensors = {name: tensor.to(dtype).to(stored) for name, tensor in tensors.items()}
    return Weights(tensors, source="trained.pt")


def pruned(trained: Weights, **how: object) -> tuple[Ticket, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ticket = prune(trained, network(None), **{"rate": 0.2, **how})  # type: ignore[arg-type]
    return ticket, [str(warning.message) for warning in caught]


def share_of_ties(ticket: Ticket, trained: Weights) -> list[float]:
    """Of the weights at the threshold, the share that each layer lost."""
    masks = ticket.masks
    threshold = max(float(trained.tensors[name][~mask].abs().max()) for name, mask in masks.items())
    lost = []
    for name, mask in masks.items():
        tie = trained.tensors[name].abs() == threshold
        lost.append(float((tie & ~mask).sum() / tie.sum()))
    return lost


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("how", [{}, {"criterion": "magnitude-layer"}])
def test_ties_of_bf16_are_spread_and_counted(stored: torch.dtype, how: dict[str, str]) -> None:
    trained = network(torch.bfloat16, stored)
    ticket, said = pruned(trained, **how)
    assert ticket.masks.pruned == 40_000
    assert ticket.digest == pruned(trained, **how)[0].digest
    (line,) = said
    assert line.startswith("WARNING: the weights in trained.pt are rounded to bfloat16, and ")
    if not how:
        lost = share_of_ties(ticket, trained)
        assert max(lost) - min(lost) < 0.9, f"whole layers lose their ties: {lost}"
        assert line.endswith("of them are pruned, spread over the pool")


def test_every_way_to_a_mask_spreads_them() -> None:
    """A control that is pruned at the start loses the same parameters as a ticket of the same values."""
    trained = network(torch.bfloat16)
    with pytest.warns(UserWarning, match="are rounded to bfloat16"):
        ticket = prune(trained, trained, rate=0.2)
    assert prune_masks(trained.tensors, trained.names(), 160_000, spread_ties=True) == ticket.masks
    assert control_ticket("at-start", ticket, 1, rewind=trained).masks == ticket.masks


def test_full_precision_is_as_before() -> None:
    trained = network(None)
    ticket, said = pruned(trained)
    assert not said
    order = torch.cat([trained.tensors[name].reshape(-1) for name in ticket.masks]).abs().argsort(stable=True)
    flat = torch.cat([mask.reshape(-1) for _, mask in ticket.masks.items()])
    assert not flat[order[:40_000]].any()


def test_types_of_rounding() -> None:
    values = torch.linspace(-3, 3, 10_000)  # near 0 bf16 holds what fp16 does not
    assert rounded_to([values]) is None
    assert rounded_to([values.half().float()]) is torch.float16
    assert rounded_to([values.bfloat16().float(), torch.ones(3)]) is torch.bfloat16
    assert rounded_to([values.half().float(), values.bfloat16().float()]) is torch.float16
    assert rounded_to([values.half().float(), values]) is None
    assert rounded_to([torch.ones(1000)]) is None, "few weights may be whole numbers"


def test_a_choice_is_even_and_the_same_everywhere() -> None:
    positions = torch.arange(0, 3_000_000, 3)
    chosen = spread(positions, 100_000)
    assert chosen.unique().numel() == 100_000
    assert int(torch.histc(chosen.float(), 10, 0, 3_000_000).sub(10_000).abs().max()) < 400
    assert spread(torch.arange(10), 3).tolist() == [1, 2, 8]
