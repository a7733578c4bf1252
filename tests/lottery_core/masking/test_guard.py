"""Hooks on modules: for how long they act, and what copies of the module have of them."""

from __future__ import annotations

import pickle

import pytest
import torch
from torch import nn

from lottery_core import Ticket, apply_ticket, prune, snapshot
from lottery_core.errors import PrunedWeightAlive
from tests.lottery_core.helpers import mlp


def ticket_of(model: nn.Module) -> Ticket:
    weights = snapshot(model)
    return prune(weights, weights, rate=0.5)


def is_guarded(model: nn.Module, ticket: Ticket) -> bool:
    """Whether what something writes to pruned weights is erased before the next forward pass."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    model(torch.randn(2, 4))
    values = dict(model.named_parameters())
    return not any(bool(values[name][~mask].any()) for name, mask in ticket.masks.items())


def test_a_guard_lasts_while_the_masks_are_attached() -> None:
    model = mlp()
    ticket = ticket_of(model)
    keeper = apply_ticket(ticket, model)
    assert not is_guarded(model, ticket)
    keeper.guard(model)
    assert is_guarded(model, ticket)
    with apply_ticket(ticket_of(mlp(1)), model):
        pass
    assert keeper.attached
    assert is_guarded(model, ticket), "lost after a block in it"
    keeper.change(ticket.masks)
    assert is_guarded(model, ticket)
    keeper.detach()
    assert not is_guarded(model, ticket)
    keeper.attach()
    assert is_guarded(model, ticket)


def test_a_pickle_of_a_masked_model_names_nothing_of_this_project() -> None:
    model = mlp()
    model[2].requires_grad_(False)
    keeper = apply_ticket(ticket_of(model), model)
    keeper.guard(model)
    data = pickle.dumps(model)
    assert b"lottery" not in data
    twin = pickle.loads(data)
    twin.load_state_dict(mlp(1).state_dict())
    assert twin(torch.ones(1, 4)).isfinite().all()


def test_a_parameter_that_is_replaced_in_a_wrapped_model_fails_the_check() -> None:
    model = mlp()
    old = model[0].weight
    wrapped = nn.DataParallel(model)
    keeper = apply_ticket(ticket_of(model), wrapped)
    keeper.check()
    model[0].weight = nn.Parameter(torch.randn(16, 4))
    with pytest.raises(PrunedWeightAlive, match=r"'0.weight' was replaced by a tensor that is not masked"):
        keeper.check()
    del old, wrapped


class Attention(nn.Module):
    """Its block reads the weights of the projection without calling it."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.MultiheadAttention(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block(x, x, x, need_weights=False)[0]


def test_modules_that_nobody_calls_are_guarded_and_unfrozen_too() -> None:
    model = Attention()
    ticket = ticket_of(model)
    keeper = apply_ticket(ticket, model)
    keeper.guard(model)
    assert is_guarded(model, ticket)
    keeper.detach()
    model.block.out_proj.requires_grad_(False)
    with apply_ticket(ticket, model):
        model.block.out_proj.requires_grad_(True)
        model(torch.randn(3, 4)).pow(2).sum().backward()
        mask = ticket.masks["block.out_proj.weight"]
        assert not bool(model.block.out_proj.weight.grad[~mask].any())
