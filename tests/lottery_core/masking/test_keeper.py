"""Keeping pruned parameters at zero in anybody's training loop."""

from __future__ import annotations

import copy
import dataclasses
import gc
import math
import pickle
import weakref

import pytest
import torch
from torch import nn

from lottery_core import MaskKeeper, Masks, apply_ticket, prune, snapshot
from lottery_core.errors import MismatchError, OptimizerError, PrunedWeightAlive
from lottery_core.masking.eraser import Eraser
from lottery_core.masking.optimizers import preserves_zeros
from tests.lottery_core.helpers import Tied, a_ticket, mlp, train

O = torch.optim  # noqa: E741
OPTIMIZERS = {
    "sgd": lambda p: O.SGD(p, lr=0.1),
    "sgd nesterov decay": lambda p: O.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam decay": lambda p: O.Adam(p, lr=0.01, weight_decay=0.1),
    "adam amsgrad": lambda p: O.Adam(p, lr=0.01, amsgrad=True),
    "adam fused": lambda p: O.Adam(p, lr=0.01, fused=True),
    "adamw": lambda p: O.AdamW(p, lr=0.01, weight_decay=0.1),
    "rmsprop": lambda p: O.RMSprop(p, lr=0.01, momentum=0.9, centered=True, weight_decay=0.1),
    "adagrad": lambda p: O.Adagrad(p, lr=0.1),
    "adafactor": lambda p: O.Adafactor(p, lr=0.1),
    "radam": lambda p: O.RAdam(p, lr=0.1),
    "nadam": lambda p: O.NAdam(p, lr=0.1),
}


def assert_dead(model: nn.Module, masks: Masks) -> None:
    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        dead = parameters[name].detach()[~mask]
        assert not bool(dead.count_nonzero()), name
        assert not bool(torch.signbit(dead).any()), name


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_pruned_parameters_stay_exactly_zero_and_survivors_move(name: str) -> None:
    model, ticket = mlp(seed=9), a_ticket()
    optimizer = OPTIMIZERS[name](model.parameters())
    train(model, optimizer)  # leaves momenta that would bring pruned parameters back
    with apply_ticket(ticket, model, optimizer) as keeper:
        assert_dead(model, ticket.masks)
        for _ in range(6):
            train(model, optimizer, steps=1)
            assert_dead(model, ticket.masks)
        keeper.check()
    assert not torch.equal(model[0].weight, ticket.weights["0.weight"])


class Noisy(torch.optim.SGD):
    """Adds noise to every parameter: no zero is safe from it."""

    def step(self, closure=None):
        loss = super().step(closure)
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.add_(torch.randn_like(parameter), alpha=0.01)
        return loss


class MatrixOnly(torch.optim.Muon):
    """As Muon, but lets vectors be."""

    def __init__(self, params, lr=1e-3) -> None:
        super().__init__([parameter for parameter in params if parameter.dim() == 2], lr=lr)


@pytest.mark.parametrize("kind", [Noisy, MatrixOnly])
def test_optimizers_that_do_not_leave_zeros_alone_are_followed_by_a_mask(kind) -> None:
    model, ticket = mlp(), a_ticket()
    optimizer = kind(model.parameters(), lr=0.01)
    assert not preserves_zeros(optimizer)
    with apply_ticket(ticket, model, optimizer):
        train(model, optimizer)
        assert_dead(model, ticket.masks)


class OwnRate(torch.optim.SGD):
    """Chooses its rate itself, as Adafactor may, and takes none beside it."""

    def __init__(self, params, lr=None) -> None:
        assert lr is None
        super().__init__(params, lr=0.01)
        for group in self.param_groups:
            group["lr"] = None

    def step(self, closure=None):
        for group in self.param_groups:
            group["lr"] = 0.01
        super().step(closure)


@pytest.mark.parametrize("kind", [Noisy, MatrixOnly])
def test_a_warm_up_that_begins_at_rate_0_hides_nothing(kind) -> None:
    model = mlp()
    optimizer = kind(model.parameters(), lr=0.01)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: step / 3)
    assert optimizer.param_groups[0]["lr"] == 0
    assert not preserves_zeros(optimizer)
    assert preserves_zeros(O.Adam(model.parameters(), lr=0.0))
    assert preserves_zeros(OwnRate(model.parameters()))


def test_trying_an_optimizer_does_not_touch_it() -> None:
    model = mlp()
    optimizer = O.Adam(model.parameters())
    before, random_state = copy.deepcopy(optimizer.state_dict()), torch.get_rng_state()
    assert preserves_zeros(optimizer)
    assert optimizer.state_dict() == before
    assert torch.equal(torch.get_rng_state(), random_state)


def test_gradients_of_pruned_parameters_are_zero_before_the_norm_is_taken() -> None:
    model, ticket = mlp(), a_ticket(rate=0.9)
    with apply_ticket(ticket, model):
        model(torch.randn(8, 4)).sum().backward()
        total = torch.nn.utils.clip_grad_norm_(model.parameters(), 1e9)
        living = [p.grad[ticket.masks[n]] for n, p in model.named_parameters()]
    assert total == pytest.approx(float(torch.cat(living).norm()))
    for name, parameter in model.named_parameters():
        assert not bool(parameter.grad[~ticket.masks[name]].count_nonzero())


def test_gradient_accumulation_and_infinite_gradients() -> None:
    model, ticket = mlp(), a_ticket()
    with apply_ticket(ticket, model):
        for factor in (1.0, math.inf):
            (model(torch.randn(8, 4)).sum() * factor).backward()
        for name, parameter in model.named_parameters():
            assert not bool(parameter.grad[~ticket.masks[name]].count_nonzero())


def test_the_same_survivors_as_under_torchs_own_pruning_bit_for_bit() -> None:
    from torch.nn.utils import prune as torch_prune

    ours, theirs, ticket = mlp(), mlp(), a_ticket()
    ticket.load_into(theirs)
    for index in (0, 2, 4):
        for kind in ("weight", "bias"):
            torch_prune.custom_from_mask(theirs[index], kind, ticket.masks[f"{index}.{kind}"])
    with apply_ticket(ticket, ours, first := O.Adam(ours.parameters(), lr=0.01)):
        train(ours, first, steps=20)
    train(theirs, O.Adam(theirs.parameters(), lr=0.01), steps=20)
    for index in (0, 2, 4):
        theirs[index](torch.zeros(1, theirs[index].in_features))  # torch masks before the forward pass only
        assert torch.equal(ours[index].weight, theirs[index].weight)


def test_the_state_dict_keeps_its_keys_and_the_model_can_be_copied_and_pickled() -> None:
    model, ticket = mlp(), a_ticket()
    keys = list(model.state_dict())
    with apply_ticket(ticket, model, O.Adam(model.parameters())):
        assert list(model.state_dict()) == keys
        for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert_dead(twin, ticket.masks)
            twin(torch.randn(2, 4)).sum().backward()
            assert bool(twin[0].weight.grad[~ticket.masks["0.weight"]].count_nonzero())  # a plain model again


def test_after_detaching_nothing_of_ours_is_left() -> None:
    model, ticket = mlp(), a_ticket()
    optimizer = O.Adam(model.parameters())
    keeper = apply_ticket(ticket, model, optimizer)
    keeper.detach()
    keeper.detach()
    train(model, optimizer, steps=1)
    with pytest.raises(PrunedWeightAlive, match=r"parameters of '0\.(bias|weight)' are alive"):
        keeper.check()


def test_a_second_ticket_replaces_the_first() -> None:
    model, first, second = mlp(), a_ticket(seed=0), a_ticket(seed=1)
    old = apply_ticket(first, model)
    apply_ticket(second, model)
    assert not old.attached
    assert_only(second, model)


def apply_and_forget(ticket, model: nn.Module) -> None:
    apply_ticket(ticket, model)


def assert_only(ticket, model: nn.Module) -> None:
    """No other masks act on the gradients than those of ``ticket``."""
    free, inputs = copy.deepcopy(model), torch.randn(8, 4)
    model.zero_grad()
    model(inputs).sum().backward()
    free(inputs).sum().backward()
    for (name, parameter), other in zip(model.named_parameters(), free.parameters(), strict=True):
        assert torch.equal(parameter.grad, other.grad.masked_fill(~ticket.masks[name], 0))


def test_a_keeper_that_nobody_holds_is_still_replaced() -> None:
    model, second = mlp(), a_ticket(seed=1)
    apply_and_forget(a_ticket(seed=0), model)
    gc.collect()
    apply_and_forget(second, model)
    assert_only(second, model)


def test_masks_on_tensors_that_the_next_ticket_leaves_whole_are_taken_off_too() -> None:
    model = mlp()
    weights = snapshot(model)
    first, second = (prune(weights, weights, rate=0.5, scope=scope) for scope in (["^0"], ["."]))
    apply_and_forget(first, model)
    whole = dataclasses.replace(second, masks=Masks.ones(second.weights), weights=weights.tensors)
    apply_and_forget(whole, model)
    assert_only(whole, model)


def test_going_on_keeps_the_weights_and_zeroes_the_momenta_of_pruned_ones() -> None:
    model, ticket = mlp(), a_ticket()
    optimizer = O.Adam(model.parameters(), lr=0.01)
    train(model, optimizer)
    before = model[2].weight.clone()
    with apply_ticket(ticket, model, optimizer, restart=False):
        mask = ticket.masks["2.weight"]
        assert torch.equal(model[2].weight[mask], before[mask])
        moment = optimizer.state[model[2].weight]["exp_avg"]
        assert not bool(moment[~mask].count_nonzero())
        assert bool(moment[mask].count_nonzero())


def test_rewinding_clears_the_optimizer() -> None:
    model, ticket = mlp(), a_ticket()
    optimizer = O.Adam(model.parameters())
    train(model, optimizer)
    with apply_ticket(ticket, model, optimizer):
        assert not optimizer.state


def test_tied_parameters_lstms_and_buffers() -> None:
    torch.manual_seed(0)
    model = Tied()
    rewind = snapshot(model)
    ticket = prune(rewind, rewind, rate=0.7)
    optimizer = O.Adam(model.parameters(), lr=0.1)
    with apply_ticket(ticket, model, optimizer):
        for _ in range(5):
            loss = model(torch.randint(11, (4, 7))).pow(2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert model.output.weight is model.embed.weight
    for name in ("embed.weight", "output.weight"):
        assert not bool(model.state_dict()[name][~ticket.masks["embed.weight"]].count_nonzero())
    assert_dead(model, ticket.masks)
    assert not torch.equal(model.norm.running_mean, ticket.rest["norm.running_mean"])


def test_finished_models_are_freed_round_after_round() -> None:
    ticket, gone = a_ticket(), []
    for _ in range(3):
        model = mlp()
        optimizer = O.Adam(model.parameters())
        keeper = apply_ticket(ticket, model, optimizer)
        train(model, optimizer, steps=1)
        gone += [weakref.ref(model[0].weight), weakref.ref(keeper)]
        del model, optimizer, keeper
    gc.collect()
    assert [reference() for reference in gone] == [None] * len(gone)


def test_eps_of_zero_is_refused() -> None:
    model = mlp()
    for optimizer in (O.Adam(model.parameters(), eps=0.0), O.RMSprop(model.parameters(), eps=0.0)):
        with pytest.raises(OptimizerError, match="eps=0"):
            apply_ticket(a_ticket(), model, optimizer)


def test_another_architecture_is_refused_and_left_alone() -> None:
    model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3))
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(MismatchError, match=r"'2.bias' is \(16,\) in the ticket, but \(3,\) in the model"):
        apply_ticket(a_ticket(), model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_sparse_gradients_are_refused() -> None:
    model = nn.Embedding(5, 3, sparse=True)
    weights = snapshot(model)
    with apply_ticket(prune(weights, weights, rate=0.5), model), pytest.raises(OptimizerError, match="sparse"):
        model(torch.tensor([1])).sum().backward()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_erasing_bits_is_masking(dtype: torch.dtype) -> None:
    values = torch.tensor([math.nan, math.inf, -1.0, 2.5, -0.0]).to(dtype)
    mask = torch.tensor([False, False, False, True, False])
    Eraser(mask, values)(values)
    assert values.tolist() == [0.0, 0.0, 0.0, 2.5, 0.0]
    assert not bool(torch.signbit(values).any())


def test_a_keeper_of_full_masks_costs_nothing() -> None:
    model = mlp()
    keeper = MaskKeeper(dict(model.named_parameters()), Masks.ones(dict(model.named_parameters())))
    keeper.attach()
    assert not keeper.attached


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.NAdam])
def test_second_moments_are_lifted_and_survivors_do_not_notice(kind, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = []
    for lifts in (True, False):
        if not lifts:
            monkeypatch.setattr("lottery_core.masking.keeper.slowed_by_zeros", lambda _: False)
        torch.manual_seed(0)
        model = torch.nn.Linear(6, 8)
        ticket, optimizer = prune(snapshot(model), snapshot(model), fraction=0.5), kind(model.parameters(), lr=0.01)
        with apply_ticket(ticket, model, optimizer):
            for _ in range(5):
                optimizer.zero_grad()
                model(torch.randn(4, 6)).pow(2).sum().backward()
                optimizer.step()
            state = optimizer.state[model.weight]
            moment, dead = state.get("exp_avg_sq", state.get("square_avg")), ~ticket.masks["weight"]
            assert bool((moment[dead] > 0).all()) == lifts
        assert not moment[dead].any(), "a file that is written afterwards holds nothing of it"
        assert moment[~dead].all()
        ends.append(snapshot(model).tensors)
    for name, value in ends[0].items():
        assert torch.equal(value.view(torch.int32), ends[1][name].view(torch.int32))
