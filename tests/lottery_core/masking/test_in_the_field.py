"""Models and optimizers as people have them: frozen layers, wrapped optimizers, values loaded while masks are held."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from lottery_core import Ticket, apply_ticket, prune, snapshot
from lottery_core.errors import OptimizerError, PrunedWeightAlive
from lottery_core.masking.optimizers import preserves_zeros
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


class Late(SGD):
    """Mixes the elements of a matrix, but only after some steps, as preconditioners do."""

    def __init__(self, parameters: Any, lr: float = 0.05, begin: int = 8) -> None:
        super().__init__(parameters, lr=lr)
        self.begin, self.steps = begin, 0

    def step(self, closure: Any = None) -> Any:
        result = super().step(closure)
        self.steps += 1
        with torch.no_grad():
            for parameter in (p for group in self.param_groups for p in group["params"] if self.steps > self.begin):
                parameter.add_(0.01)
        return result


class Ranked(SGD):
    """Has its setting in the groups alone, as GaLore has."""

    def step(self, closure: Any = None) -> Any:
        result = super().step(closure)
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"] if group.get("rank") else ():
                    parameter.add_(0.01)
        return result


def test_an_optimizer_that_begins_to_mix_elements_after_its_trial() -> None:
    model = mlp()
    ticket = ticket_of(model)
    optimizer = Late(model.parameters())
    with apply_ticket(ticket, model, optimizer):
        train(model, optimizer, steps=8)
        with pytest.warns(UserWarning, match=r"a step of Late has changed pruned .* \(found at step \d+\)"):
            train(model, optimizer, steps=1)
        for seed in range(3):
            assert alive(model, ticket) == 0
            train(model, optimizer, steps=1, seed=seed)


def test_settings_of_the_groups_alone_are_those_of_the_trial() -> None:
    model = mlp()
    assert preserves_zeros(Ranked([{"params": list(model.parameters())}], lr=0.05))
    ranked = Ranked([{"params": list(model.parameters()), "rank": 4}], lr=0.05)
    assert not preserves_zeros(ranked)
    ticket = ticket_of(model)
    with apply_ticket(ticket, model, ranked):
        train(model, ranked, steps=1)
        assert alive(model, ticket) == 0


@pytest.mark.parametrize("set_by", ["noise", "autograd"])
def test_gradients_that_a_closure_sets(set_by: str) -> None:
    model = mlp()
    ticket = ticket_of(model)
    optimizer = Adam(model.parameters(), lr=0.05)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = model(torch.randn(8, 4)).pow(2).mean()
        if set_by == "noise":
            loss.backward()
        found = None if set_by == "noise" else torch.autograd.grad(loss, list(model.parameters()))
        for index, parameter in enumerate(model.parameters()):
            parameter.grad = parameter.grad + 0.01 if found is None else found[index]
        return loss

    with apply_ticket(ticket, model, optimizer):
        with pytest.warns(UserWarning, match="a step of Adam has changed pruned parameters"):
            optimizer.step(closure)
        for _ in range(5):
            assert alive(model, ticket) == 0
            optimizer.step(closure)


def test_what_another_hand_writes_is_an_error_and_not_mended() -> None:
    model = mlp()
    ticket = ticket_of(model)
    optimizer = SGD(model.parameters(), lr=0.05)
    keeper = apply_ticket(ticket, model, optimizer)
    train(model, optimizer, steps=1)
    with torch.no_grad():
        next(model.parameters()).add_(1.0)
    train(model, optimizer, steps=3)
    with pytest.raises(PrunedWeightAlive):
        keeper.check()


def test_frozen_parameters_of_any_type_are_no_reason_to_refuse() -> None:
    model = mlp()
    frozen = [nn.Parameter(torch.ones(3).to(kind), requires_grad=False) for kind in (torch.float16, torch.uint8)]
    with apply_ticket(ticket_of(model), model, AdamW([*model.parameters(), *frozen], lr=0.05)) as keeper:
        keeper.check()


def test_a_preconditioner_is_not_masked_nor_a_state_of_whole_numbers() -> None:
    model = nn.Sequential(nn.Linear(6, 6, bias=False))
    ticket = ticket_of(model)
    optimizer = Late(model.parameters(), begin=0)  # not elementwise
    (parameter,) = model.parameters()
    state = {"precond_0": torch.ones(6, 6), "exp_avg": torch.ones(6, 6), "code": torch.ones(6, 6, dtype=torch.uint8)}
    optimizer.state[parameter] = state
    with apply_ticket(ticket, model, optimizer, restart=False):
        counts = {name: int(value.count_nonzero()) for name, value in state.items()}
    assert counts == {"precond_0": 36, "exp_avg": ticket.masks.surviving, "code": 36}


def test_a_schedule_that_is_made_while_a_wrapper_is_followed() -> None:
    model = mlp()
    optimizer = Lookahead(SGD(model.parameters(), lr=0.05))
    optimizer.defaults = {}
    with apply_ticket(ticket_of(model), model, optimizer):
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
        train(model, optimizer, steps=1)
        schedule.step()
        assert optimizer.param_groups[0]["lr"] == 0.025


def test_the_momentum_inside_a_wrapper_is_cleared() -> None:
    class Apart(Lookahead):
        def __init__(self, inner: Optimizer) -> None:
            super().__init__(inner)
            self.state = {}

    model = mlp()
    inner = SGD(model.parameters(), lr=0.05, momentum=0.9)
    train(model, inner)
    assert inner.state
    with apply_ticket(ticket_of(model), model, Apart(inner)):
        assert not inner.state


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
    with pytest.raises(
        PrunedWeightAlive,
        match=r"'0.weight' (is gone: whatever replaced it|was replaced by a tensor that) is not masked",
    ):
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


def by_hand(model: nn.Module, loss: torch.Tensor) -> None:
    for parameter, gradient in zip(
        model.parameters(), torch.autograd.grad(loss, list(model.parameters())), strict=True
    ):
        parameter.grad = gradient


def with_noise(model: nn.Module, loss: torch.Tensor) -> None:
    loss.backward()
    for parameter in model.parameters():
        assert parameter.grad is not None
        parameter.grad.add_(torch.randn_like(parameter))


@pytest.mark.parametrize("begin", [0, 250])
@pytest.mark.parametrize("gradients", [by_hand, with_noise])
def test_gradients_that_are_not_only_accumulated(
    gradients: Callable[[nn.Module, torch.Tensor], None], begin: int
) -> None:
    """Found before the first step; where they come later, soon after, and in the end nothing is alive."""
    model = mlp()
    ticket, optimizer = ticket_of(model), Adam(model.parameters(), lr=0.01)
    later = pytest.warns(UserWarning, match="gradients that were set after the first steps .found at step 301")
    with later if begin else nullcontext(), apply_ticket(ticket, model, optimizer):
        for step in range(begin + 110):
            optimizer.zero_grad()
            loss = model(torch.randn(8, 4)).pow(2).mean()
            if step < begin:
                loss.backward()
            else:
                gradients(model, loss)
            optimizer.step()
            if not begin:
                assert alive(model, ticket) == 0
    assert alive(model, ticket) == 0
    assert moved(model, ticket) > ticket.masks.surviving / 2


def test_what_writes_parameters_itself_is_told_at_the_end_of_the_block() -> None:
    model = mlp()
    ticket = ticket_of(model)

    def write(error: type[Exception] | None = None) -> None:
        values = nn.utils.parameters_to_vector(model.parameters())
        nn.utils.vector_to_parameters(values + 1, model.parameters())
        if error is not None:
            raise error

    with pytest.raises(PrunedWeightAlive, match="are alive"), apply_ticket(ticket, model):
        write()
    with apply_ticket(ticket, model) as keeper:
        write()
        keeper.enforce()
    assert alive(model, ticket) == 0
    with pytest.raises(ZeroDivisionError), apply_ticket(ticket, model):  # another error is not hidden
        write(ZeroDivisionError)


@pytest.mark.parametrize("kind", [Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.NAdam])
def test_an_eps_that_is_nothing_in_the_type_of_the_parameters(kind: type[Optimizer]) -> None:
    model = mlp().half()
    ticket = ticket_of(model)
    with pytest.raises(OptimizerError, match=r"with eps=1e-08, which is 0 in float16, turns .* give it eps=1e-4"):
        apply_ticket(ticket, model, kind(model.parameters()))
    for optimizer in (kind(model.parameters(), eps=1e-4), SGD(model.parameters(), lr=0.01)):
        with apply_ticket(ticket, model, optimizer):
            for _ in range(3):
                optimizer.zero_grad()
                model(torch.randn(8, 4).half()).pow(2).mean().backward()
                optimizer.step()
        assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())
    apply_ticket(ticket_of(model.bfloat16()), model, kind(model.parameters())).detach()


class Langevin(SGD):
    """Keeps how much noise it adds beside the groups."""

    def __init__(self, parameters: Any, lr: float = 0.01, noise: float = 0.0) -> None:
        super().__init__(parameters, lr=lr)
        self.noise = noise

    def step(self, closure: Any = None) -> Any:
        result = super().step(closure)
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.add_(torch.randn_like(parameter), alpha=self.noise)
        return result


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_settings_that_an_optimizer_keeps_beside_its_groups(noise: float) -> None:
    model = mlp()
    ticket, optimizer = ticket_of(model), Langevin(model.parameters(), noise=noise)
    with apply_ticket(ticket, model, optimizer):
        train(model, optimizer)
        assert alive(model, ticket) == 0


def test_a_parameter_whose_old_tensor_still_lives_is_replaced_all_the_same() -> None:
    model = mlp()
    optimizer = Adam(model.parameters())
    keeper = apply_ticket(ticket_of(model), model, optimizer)
    model[0].weight = nn.Parameter(model[0].weight.detach().clone())
    with pytest.raises(PrunedWeightAlive, match=r"'0.weight' was replaced by a tensor that is not masked"):
        keeper.check()
    assert optimizer.param_groups


def test_a_block_in_a_block_gives_the_masks_back() -> None:
    model = mlp()
    outer, inner, optimizer = ticket_of(model, 0.6), ticket_of(model, 0.3), SGD(model.parameters(), lr=0.1)
    with apply_ticket(outer, model, optimizer) as keeper:
        with apply_ticket(inner, model, optimizer):
            train(model, optimizer)
            assert alive(model, inner) == 0
            assert alive(model, outer) > 0
        assert keeper.attached
        train(model, optimizer)
        assert alive(model, outer) == 0
    assert not keeper.attached
