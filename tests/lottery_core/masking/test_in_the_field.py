"""Models and optimizers as people have them: frozen layers, wrapped optimizers, values loaded while masks are held."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, Optimizer

from lottery_core import Ticket, apply_ticket, prune, snapshot
from lottery_core.errors import PrunedWeightAlive
from tests.lottery_core.helpers import mlp, train


def ticket_of(model: nn.Module, rate: float = 0.6) -> Ticket:
    weights = snapshot(model)
    return prune(weights, weights, rate=rate)


def alive(model: nn.Module, ticket: Ticket) -> int:
    values = dict(model.named_parameters())
    return sum(int((values[name].detach()[~mask] != 0).sum()) for name, mask in ticket.masks.items())


def moved(model: nn.Module, ticket: Ticket) -> int:
    """How many survivors differ from where the ticket starts."""
    values = dict(model.named_parameters())
    return sum(int((values[name] != ticket.weights[name]).sum()) for name in ticket.masks)


class Lookahead(Optimizer):
    """As it is usually written: wraps another optimizer and never calls ``Optimizer.__init__``."""

    def __init__(self, inner: Optimizer, every: int = 2, alpha: float = 0.5) -> None:
        self.inner, self.every, self.alpha, self.steps = inner, every, alpha, 0
        self.param_groups, self.state = inner.param_groups, inner.state
        self.slow = [[p.detach().clone() for p in group["params"]] for group in inner.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.inner.zero_grad(set_to_none)

    def step(self, closure: Any = None) -> Any:
        result = self.inner.step(closure)
        self.steps += 1
        if self.steps % self.every == 0:
            with torch.no_grad():
                for group, slow in zip(self.param_groups, self.slow, strict=True):
                    for fast, kept in zip(group["params"], slow, strict=True):
                        kept.add_(fast - kept, alpha=self.alpha)
                        fast.copy_(kept)
        return result


class Passing(Optimizer):
    """As Accelerate's: hands everything on to the optimizer inside."""

    def __init__(self, inner: Optimizer) -> None:
        self.optimizer = inner

    @property
    def param_groups(self) -> Any:  # type: ignore[override]
        return self.optimizer.param_groups

    @property
    def state(self) -> Any:  # type: ignore[override]
        return self.optimizer.state

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.optimizer.zero_grad(set_to_none)

    def step(self, closure: Any = None) -> Any:
        return self.optimizer.step(closure)


@pytest.mark.parametrize("wrap", [Lookahead, Passing])
@pytest.mark.parametrize("kind", [SGD, Adam])
def test_wrappers_that_torchs_hooks_do_not_reach(wrap: Callable[[Optimizer], Optimizer], kind: Any) -> None:
    model = mlp()
    ticket = ticket_of(model)
    train(model, kind(model.parameters(), lr=0.05))
    optimizer = wrap(kind(model.parameters(), lr=0.05))
    plain = optimizer.step
    with apply_ticket(ticket, model, optimizer) as keeper:
        for seed in range(6):
            train(model, optimizer, steps=1, seed=seed)
            assert alive(model, ticket) == 0
            keeper.check()
    assert moved(model, ticket) > 0.5 * ticket.masks.surviving
    assert optimizer.step == plain  # left as it was


def test_an_optimizer_that_steps_within_the_backward_pass() -> None:
    """Its hooks came first, and step with the gradient that they find."""
    model = mlp()
    ticket = ticket_of(model)
    steppers = {p: SGD([p], lr=0.05, momentum=0.9) for p in model.parameters()}

    def step(parameter: torch.Tensor) -> None:
        steppers[parameter].step()
        steppers[parameter].zero_grad()

    for parameter in steppers:
        parameter.register_post_accumulate_grad_hook(step)

    def backward(steps: int) -> None:
        for seed in range(steps):
            generator = torch.Generator().manual_seed(seed)
            model(torch.randn(8, 4, generator=generator)).pow(2).mean().backward()

    backward(3)  # momentum of the dense network
    with apply_ticket(ticket, model):
        for _ in range(5):
            backward(1)
            assert alive(model, ticket) == 0
    assert moved(model, ticket) > 0.5 * ticket.masks.surviving


def frozen_mlp() -> nn.Sequential:
    model = mlp()
    model[0].requires_grad_(False)
    return model


def test_frozen_parameters_are_zeroed() -> None:
    model = frozen_mlp()
    ticket = ticket_of(model)
    optimizer = Adam(model.parameters(), lr=0.05)
    with apply_ticket(ticket, model, optimizer) as keeper:
        train(model, optimizer)
        keeper.check()
    assert alive(model, ticket) == 0
    assert torch.equal(model[0].weight, ticket.weights["0.weight"])


@pytest.mark.parametrize("given", [True, False])
def test_parameters_that_are_unfrozen_later_are_masked_from_the_first_gradient(given: bool) -> None:
    model = frozen_mlp()
    ticket = ticket_of(model)
    optimizer = SGD(model.parameters(), lr=0.05)
    with apply_ticket(ticket, model, *([optimizer] if given else [])) as keeper:
        train(model, optimizer, steps=2)
        model[0].requires_grad_(True)
        model(torch.randn(8, 4)).pow(2).mean().backward()
        for name, parameter in model.named_parameters():  # what clipping would see
            assert not bool(parameter.grad[~ticket.masks[name]].count_nonzero())
        train(model, optimizer, steps=3)
        keeper.check()
    assert alive(model, ticket) == 0
    assert not torch.equal(model[0].weight, ticket.weights["0.weight"])


def test_optimizer_state_that_is_loaded_while_masks_are_held() -> None:
    model = mlp()
    optimizer = SGD(model.parameters(), lr=0.05, momentum=0.9)
    train(model, optimizer)
    dense = copy.deepcopy(optimizer.state_dict())
    ticket = ticket_of(model)
    with apply_ticket(ticket, model, optimizer) as keeper:
        optimizer.load_state_dict(dense)
        train(model, optimizer, steps=1)
        keeper.check()
    for name, parameter in model.named_parameters():
        assert not bool(optimizer.state[parameter]["momentum_buffer"][~ticket.masks[name]].count_nonzero())


@pytest.mark.parametrize("assign", [True, False])
@pytest.mark.parametrize("part", ["whole", "layer by layer"])
def test_values_that_are_loaded_while_masks_are_held(assign: bool, part: str) -> None:
    model, other = mlp(), mlp(7)
    ticket = ticket_of(model)
    with apply_ticket(ticket, model) as keeper:
        if part == "whole":
            model.load_state_dict({name: value.clone() for name, value in other.state_dict().items()}, assign=assign)
        else:
            for mine, theirs in zip(model, other, strict=True):
                mine.load_state_dict(
                    {name: value.clone() for name, value in theirs.state_dict().items()}, assign=assign
                )
        assert alive(model, ticket) == 0
        assert moved(model, ticket) == ticket.masks.surviving
        optimizer = SGD(model.parameters(), lr=0.05)  # assign puts other tensors in
        train(model, optimizer)
        assert alive(model, ticket) == 0
        keeper.check()


def test_a_parameter_that_is_replaced_otherwise_fails_the_check() -> None:
    model = mlp()
    keeper = apply_ticket(ticket_of(model), model)
    model[0].weight = nn.Parameter(torch.randn(16, 4))
    with pytest.raises(PrunedWeightAlive, match=r"'0.weight' is gone: whatever replaced it is not masked"):
        keeper.check()


@pytest.mark.parametrize("way", ["deepcopy", "pickle", "torch.save"])
def test_a_copy_of_a_masked_model_loads_what_it_is_given(way: str) -> None:
    model, other = frozen_mlp(), mlp(7)
    ticket = ticket_of(model)
    with apply_ticket(ticket, model):
        if way == "deepcopy":
            copied = copy.deepcopy(model)
        elif way == "pickle":
            copied = pickle.loads(pickle.dumps(model))
        else:
            buffer = io.BytesIO()
            torch.save(model, buffer)
            buffer.seek(0)
            copied = torch.load(buffer, weights_only=False)
        copied.load_state_dict(other.state_dict())
        assert all(torch.equal(copied.state_dict()[name], value) for name, value in other.state_dict().items())
        copied(torch.randn(2, 4))
        assert alive(model, ticket) == 0


def test_nothing_is_left_behind() -> None:
    model = frozen_mlp()
    optimizer = Adam(model.parameters(), lr=0.05)
    apply_ticket(ticket_of(model), model, optimizer).detach()
    for module in model.modules():
        assert not module._load_state_dict_post_hooks
        assert not module._forward_pre_hooks
    for parameter in model.parameters():
        assert not parameter._post_accumulate_grad_hooks
    assert not optimizer._optimizer_step_post_hooks
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_load_state_dict_post_hooks
