"""Pruning in training: when its steps are due, how many are left after each, and exact zeros under every optimizer."""

from __future__ import annotations

import re

import pytest
import torch

from lottery_core import Masks, apply_ticket, snapshot
from lottery_core.errors import ConfigError, PruneError, RunError
from lottery_core.pruning import IN_TRAINING, GradientSums, PruningInTraining, PruningSchedule, ticket_without_search
from tests.lottery_core.helpers import mlp, random_weights, train
from tests.lottery_core.masking.test_keeper import OPTIMIZERS, assert_dead
from tests.lottery_core.toy import train_and_prune

GRADUAL, SNIP = IN_TRAINING["gradual"], IN_TRAINING["snip"]


def test_the_counts_are_those_of_the_cubic_schedule() -> None:
    """Zhu & Gupta 2017, equation 1: s_t = s_f + (s_i - s_f) (1 - (t - t0) / (n dt))^3, with s_i = 0."""
    counts = [GRADUAL.left(1000, 100, step / 4) for step in range(5)]
    pruned = [0.9 + (0 - 0.9) * (1 - step / 4) ** 3 for step in range(5)]
    assert counts == pytest.approx([1000 * (1 - share) for share in pruned], abs=0.6)


@pytest.mark.parametrize("kind", IN_TRAINING.values(), ids=IN_TRAINING)
@pytest.mark.parametrize(("pool", "survivors"), [(386, 1), (386, 77), (386, 386), (44_000_003, 6_120_001)])
def test_the_last_step_leaves_exactly_the_count_and_no_step_brings_back(kind, pool: int, survivors: int) -> None:
    counts = [kind.left(pool, survivors, step / 30) for step in range(31)]
    assert (counts[0], counts[-1]) == (pool, survivors)
    assert counts == sorted(counts, reverse=True)


def test_snip_prunes_the_same_share_of_the_rest_in_each_step() -> None:
    counts = [SNIP.left(10_000, 100, step / 2) for step in range(3)]
    assert counts == [10_000, 1000, 100]


def test_steps_are_evenly_spaced_between_begin_and_end() -> None:
    schedule = PruningSchedule(0.2, 0.8, 3)
    due = {share: schedule.due(share) for share in (0, 0.2, 0.39, 0.4, 0.59, 0.6, 0.79, 0.8, 0.9, 1)}
    assert list(due.values()) == [0, 0, 0, 1, 1, 2, 2, 3, 3, 3]
    every = [PruningSchedule(0, 1, 10).due(update / 10) for update in range(11)]
    assert every == list(range(11)), "no step is late because its share was rounded"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("0.5 0.5 3", "BEGIN < END"),
        ("-0.1 0.5 3", "0 <= BEGIN"),
        ("0 1.5 3", "END <= 1"),
        ("0 nan 3", "BEGIN < END"),
        ("0 0.5 0", "at least 1 step"),
        ("0 0.5", "--gradual '0 0.5' is not understood: give BEGIN END STEPS"),
        ("0 0.5 2.5", "is not understood"),
        ("a b c", "is not understood"),
    ],
)
def test_schedules_that_cannot_be(words: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        PruningSchedule.parse(words)


def test_a_schedule_longer_than_its_training_is_refused() -> None:
    PruningSchedule(0, 0.75, 30).check_fits(40, "updates")
    with pytest.raises(ConfigError, match=r"has 30 steps, .* only 29 updates: train longer"):
        PruningSchedule(0, 0.75, 30).check_fits(39, "updates")


def test_a_short_kind_is_pruned_within_its_share_of_an_epoch() -> None:
    gradual = PruningSchedule(0, 0.75, 30)
    assert gradual.for_kind(GRADUAL, 50) is gradual
    assert gradual.for_kind(SNIP, 50) == PruningSchedule(0, SNIP.epoch_share / 50, SNIP.steps)


@pytest.mark.parametrize("kind", IN_TRAINING)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_pruned_parameters_stay_exactly_zero_while_masks_change(name: str, kind: str) -> None:
    model = mlp(seed=3)
    optimizer = OPTIMIZERS[name](model.parameters())
    ticket = ticket_without_search(kind, snapshot(model), 0.2)
    pruning = PruningInTraining.of(ticket, PruningSchedule(0, 0.75, 6), 77)
    seen: list[Masks] = []

    class Watched(PruningInTraining):
        def prune(self, values, share):
            before = self.masks
            after = super().prune(values, share)
            assert after.subset_of(before)
            seen.append(after)
            return after

    watched = Watched(pruning.kind, pruning.schedule, ticket.weights, 77)
    with apply_ticket(ticket, model, optimizer) as keeper:
        train_and_prune(model, optimizer, keeper, watched, 16)
        keeper.check()
        for state in optimizer.state.values():
            for key in ("exp_avg", "momentum_buffer"):
                if torch.is_tensor(state.get(key)):
                    assert not state[key].isnan().any()
    assert [masks.surviving for masks in seen] == [watched.kind.left(386, 77, step / 6) for step in range(1, 7)]
    assert_dead(model, seen[-1])


@pytest.mark.parametrize(
    ("kind", "criterion", "by_layer"),
    [
        ("gradual", "magnitude-layer", True),
        ("gradual", "magnitude-increase", False),
        ("gradual", "magnitude", False),
        ("snip", "magnitude-layer", False),
    ],
)
def test_weights_are_ranked_by_the_tickets_criterion_where_it_ranks_values_alone(
    kind: str, criterion: str, by_layer: bool
) -> None:
    ticket = ticket_without_search(kind, snapshot(mlp(seed=3)), 0.2).with_origin(criterion=criterion)
    masks = PruningInTraining.of(ticket, PruningSchedule(0, 1, 1), 77).prune(ticket.weights, 1.0)
    shares = [mask.float().mean().item() for mask in masks.values() if mask.numel() >= 32]
    assert masks.surviving == 77
    assert (max(shares) - min(shares) < 0.02) == by_layer


def test_momentum_and_gradients_of_what_died_are_cleared_at_once() -> None:
    """Otherwise the next step of the optimizer would move what was pruned, or clip by it."""
    model = mlp(seed=3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    ticket = ticket_without_search("gradual", snapshot(model), 0.2)
    with apply_ticket(ticket, model, optimizer) as keeper:
        train(model, optimizer)
        pruning = PruningInTraining.of(ticket, PruningSchedule(0, 0.5, 1), 77)
        masks = pruning.prune(dict(model.named_parameters()), 1.0)
        keeper.change(masks)
        for name, parameter in model.named_parameters():
            assert not parameter.grad[~masks[name]].any()
            assert not optimizer.state[parameter]["momentum_buffer"][~masks[name]].any()
            assert optimizer.state[parameter]["momentum_buffer"][masks[name]].any() or not masks[name].any()
        assert_dead(model, masks)
        norms = []
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.randn(8, 4)).pow(2).mean().backward()
            total = torch.nn.utils.clip_grad_norm_(model.parameters(), 1e9)
            living = [parameter.grad[masks[name]] for name, parameter in model.named_parameters()]
            norms.append((float(total), float(torch.cat(living).norm())))
        assert [first for first, _ in norms] == pytest.approx([second for _, second in norms])


def test_sums_of_gradients_are_those_of_one_large_batch() -> None:
    model, data = mlp(seed=1), torch.randn(12, 4)
    sums = GradientSums(["0.weight"])
    for part in data.split(4):
        model.zero_grad()
        model(part).pow(2).sum().backward()
        for name, parameter in model.named_parameters():
            sums.add(name, parameter)
    model.zero_grad()
    model(data).pow(2).sum().backward()
    assert list(sums.values) == ["0.weight"]
    assert torch.allclose(sums.values["0.weight"], model[0].weight * model[0].weight.grad, rtol=1e-4, atol=1e-6)


def test_without_any_gradient_nothing_can_be_ranked() -> None:
    sums = GradientSums(["a"])
    with pytest.raises(RunError, match="no gradient has reached the pool"):
        sums.over({"a": torch.ones(3)})


def test_an_interrupted_training_continues_with_its_masks_only() -> None:
    weights = random_weights(a=(10, 10), b=(10,))
    ticket = ticket_without_search("gradual", weights, 0.2)
    whole = PruningInTraining.of(ticket, PruningSchedule(0, 1, 4), 22)
    half = PruningInTraining.of(ticket, PruningSchedule(0, 1, 4), 22)
    half.resume(whole.prune(weights.tensors, 0.5), 2)
    assert half.prune(weights.tensors, 1.0) == whole.prune(weights.tensors, 1.0)
    assert half.complete
    for masks, done in ((whole.masks, 2), (whole.masks, 9), (Masks({"c": torch.ones(3)}), 0)):
        with pytest.raises(RunError, match="not those of this schedule"):
            half.resume(masks, done)


@pytest.mark.parametrize("kind", ["erk", "uniform", "at-start"])
def test_kinds_without_a_search_have_exactly_their_share(kind: str) -> None:
    start = snapshot(mlp(seed=5))
    ticket = ticket_without_search(kind, start, 0.25, scope="layers", seed=3)
    assert ticket.masks.surviving == round(0.25 * ticket.masks.pool)
    assert ticket.origin.scope == ("layers",)
    assert (ticket.origin.kind, ticket.origin.parent) == (kind, None)
    masked = ticket.masks.apply(start.tensors)
    assert all(torch.equal(ticket.weights[name], masked[name]) for name in ticket.masks)
    assert ticket_without_search(kind, start, 1.0).masks.pruned == 0
    assert ticket_without_search(kind, start, 1e-9).masks.surviving == 1


@pytest.mark.parametrize("share", [0, -0.1, 1.01, float("nan")])
def test_surviving_is_a_share(share: float) -> None:
    with pytest.raises(ConfigError, match=r"must lie in \(0, 1\]"):
        ticket_without_search("erk", snapshot(mlp()), share)


@pytest.mark.parametrize("kind", ["winning", "random", "one-shot", "signs"])
def test_kinds_that_need_a_ticket_say_so(kind: str) -> None:
    with pytest.raises(ConfigError, match=f"'{kind}' needs a ticket .* there are uniform, erk, at-start"):
        ticket_without_search(kind, snapshot(mlp()), 0.1)


def test_fewer_survivors_than_slices_are_refused_before_the_training() -> None:
    """The last steps of pruning would fail."""
    model = torch.nn.Sequential(torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(8, 16)))
    ticket = ticket_without_search("gradual", snapshot(model), 0.1, scope=r".*original1")
    with pytest.raises(PruneError, match=r"cannot leave 15 parameters: normalised weights .* need 16, one in each"):
        PruningInTraining.of(ticket, PruningSchedule(0, 1, 2), 15)
    PruningInTraining.of(ticket, PruningSchedule(0, 1, 2), 16)


def test_a_normalised_weight_keeps_a_survivor_in_each_slice() -> None:
    """Also where its norms are outside the scope: a row without a survivor would be divided by a norm of 0."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(8, 16)))
    with torch.no_grad():
        model[0].parametrizations.weight.original1[3] *= 1e-3
    ticket = ticket_without_search("gradual", snapshot(model), 0.25, scope=r".*original1")
    pruning = PruningInTraining.of(ticket, PruningSchedule(0, 1, 2), 32)
    with apply_ticket(ticket, model, torch.optim.SGD(model.parameters(), lr=0.1)) as keeper:
        for share in (0.5, 1.0):
            keeper.change(pruning.prune(dict(model.named_parameters()), share))
    (mask,) = pruning.masks.values()
    assert int(mask.sum()) == 32
    assert bool(mask.any(1).all())
    assert bool(torch.isfinite(model(torch.randn(3, 8))).all())
