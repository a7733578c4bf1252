"""The trial of an optimizer uses nothing of the training; and steps that cannot be looked at are let be."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Optimizer

from lottery_core import apply_ticket, prune, snapshot
from lottery_core.masking.optimizers import preserves_zeros
from lottery_core.masking.steps import Looks
from tests.lottery_core.helpers import mlp


class Around(Optimizer):
    """Keeps the optimizer that it steps under the name of its argument."""

    def __init__(self, params: Any, inner: Optimizer | None = None) -> None:
        super().__init__(params, {})
        self.inner = inner

    def step(self, closure: Any = None) -> Any:
        return None if self.inner is None else self.inner.step(closure)


class Drawing(SGD):
    """Draws random numbers in each step, of its own generator or of torch's."""

    def __init__(self, params: Any, lr: float = 0.1, generator: torch.Generator | None = None) -> None:
        super().__init__(params, lr=lr)
        self.generator = generator

    def step(self, closure: Any = None) -> Any:
        torch.rand(1, generator=self.generator)
        return super().step(closure)


class Scheduled(SGD):
    """Multiplies a rate that it was given as a tensor, in place, and keeps other settings in its groups."""

    def __init__(self, params: Any, lr: Any = 0.1, rule: Any = None) -> None:
        super().__init__(params, lr=lr)
        self.param_groups[0]["rule"] = rule

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            group["lr"].mul_(0.5)
        return super().step(closure)


def test_the_optimizer_inside_is_not_stepped() -> None:
    model = mlp()
    weights = snapshot(model)
    ticket = prune(weights, weights, rate=0.5)
    inner = SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.randn(4, 4)).square().mean().backward()
    with apply_ticket(ticket, model, Around(model.parameters(), inner), restart=False):
        for name, mask in ticket.masks.items():
            assert torch.equal(model.get_parameter(name)[mask], weights.tensors[name][mask])
        assert not inner.state


@pytest.mark.parametrize("own", [True, False])
def test_a_trial_draws_nothing_of_the_training(own: bool) -> None:
    """A generator cannot be copied, so an optimizer with one of its own is assumed unsafe."""
    generator = torch.Generator().manual_seed(1)
    optimizer = Drawing(mlp().parameters(), generator=generator if own else None)
    before = generator.get_state(), torch.get_rng_state()
    assert preserves_zeros(optimizer) is not own
    assert torch.equal(generator.get_state(), before[0])
    assert torch.equal(torch.get_rng_state(), before[1])


def test_tensors_among_the_settings_are_copied() -> None:
    rate = torch.tensor(0.1)
    optimizer = Scheduled(mlp().parameters(), rate, rule={"by": [1, (2.0, torch.float32, len)]})
    assert preserves_zeros(optimizer)
    assert rate == torch.tensor(0.1)


def test_what_cannot_be_copied_is_no_error() -> None:
    assert not preserves_zeros(Scheduled(mlp().parameters(), torch.tensor(0.1), rule=torch.Generator()))
    assert not preserves_zeros(Scheduled(mlp().parameters(), torch.tensor(0.1), rule=nn.Parameter(torch.ones(1))))


def test_steps_that_are_recorded_into_a_cuda_graph_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking waits for the GPU, which is an error there."""
    looks = Looks()
    looks.begin()
    assert looks.at_gradients
    assert looks.at_values
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    looks.begin()
    assert not looks.at_gradients
    assert not looks.at_values
