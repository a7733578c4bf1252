"""A round of pruning."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy
import pytest
import torch
from torch.nn.utils import prune as torch_prune

from lottery_core import Ticket, Weights, control_ticket, prune, schedule, snapshot
from lottery_core.errors import ConfigError, MismatchError, PruneError
from lottery_core.pruning import parse_point
from tests.lottery_core.helpers import Tied, mlp, random_weights, train


def test_the_schedule_is_the_papers() -> None:
    assert schedule(1000, 0.2, 3) == [1000, 800, 640, 512]
    assert schedule(386, 0.36, 8) == [386, 247, 158, 101, 65, 42, 27, 17, 11]
    for rate in (0.0, 1.0, -0.1, 1.5, float("nan")):
        with pytest.raises(PruneError, match="strictly between 0 and 1"):
            schedule(10, rate, 1)


def test_twenty_rounds_are_exact_nested_and_start_at_the_rewind_point() -> None:
    model = mlp()
    rewind = snapshot(model)
    train(model, torch.optim.Adam(model.parameters(), lr=1e-2))
    trained, previous = snapshot(model), None
    for number, survivors in enumerate(schedule(386, 0.2, 20)[1:], start=1):
        ticket = prune(trained, rewind, rate=0.2, previous=previous)
        assert ticket.masks.surviving == survivors
        assert ticket.origin.round == number
        assert ticket.origin.parent == (previous.digest if previous else None)
        assert previous is None or ticket.masks.subset_of(previous.masks)
        assert all(torch.equal(ticket.weights[n], ticket.masks.apply(rewind.tensors)[n]) for n in ticket.masks)
        previous = ticket


def test_the_same_masks_as_torchs_own_pruning() -> None:
    model = mlp()
    rewind = snapshot(model)
    ticket = prune(rewind, rewind, fraction=0.6)
    layers = [module for module in model if isinstance(module, torch.nn.Linear)]
    pool = [(module, name) for module in layers for name in ("weight", "bias")]
    torch_prune.global_unstructured(pool, torch_prune.L1Unstructured, amount=round(0.6 * 386))
    for index in (0, 2, 4):
        assert torch.equal(ticket.masks[f"{index}.weight"], model[index].weight_mask.bool())
        assert torch.equal(ticket.masks[f"{index}.bias"], model[index].bias_mask.bool())


def test_tied_parameters_count_once_and_buffers_never() -> None:
    model = Tied()
    weights = snapshot(model)
    ticket = prune(weights, weights, rate=0.5)
    assert ticket.masks.pool == sum(parameter.numel() for parameter in model.parameters())
    assert "embed.weight" in ticket.masks
    assert "output.weight" not in ticket.masks
    assert {"norm.running_mean", "norm.running_var", "norm.num_batches_tracked"} == set(ticket.rest)


def test_a_fraction_is_of_the_whole_pool() -> None:
    weights = random_weights(a=(10, 10))
    first = prune(weights, weights, rate=0.5)
    assert prune(weights, weights, fraction=0.67, previous=first).masks.pruned == 67
    with pytest.raises(PruneError, match=r"50.0% of the pool is pruned already"):
        prune(weights, weights, fraction=0.4, previous=first)


def test_the_scope_goes_on_and_the_rest_is_kept_whole() -> None:
    weights = random_weights(fc__weight=(4, 4), embed__weight=(5, 4))
    first = prune(weights, weights, rate=0.5, scope="layers")
    second = prune(weights, weights, rate=0.5, previous=first)
    assert second.origin.scope == ("layers",)
    assert torch.equal(second.rest["embed.weight"], weights.tensors["embed.weight"])


def test_the_last_parameter_is_not_pruned_away() -> None:
    weights = random_weights(a=(1,))
    with pytest.raises(PruneError, match="the number must lie between 1 and the 1 that are left"):
        prune(weights, weights, rate=0.9)


def test_other_architectures_are_refused_with_the_first_tensor_and_both_shapes() -> None:
    small, large = random_weights(a=(2, 2), b=(3,)), random_weights(a=(2, 2), b=(4,))
    with pytest.raises(MismatchError, match=r"'b' is \(4,\).*\(3,\)"):
        prune(small, large, rate=0.5)
    with pytest.raises(MismatchError, match=r"'b' is \(3,\).*\(4,\)"):
        prune(large, large, rate=0.5, previous=prune(small, small, rate=0.5))


def test_a_rewind_point_of_thousands_of_digits_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"--rewind 'updates:9+ \.\.\. 9+' is not understood") as caught:
        parse_point(f"updates:{'9' * 5000}", ["updates"], "--rewind")
    assert len(str(caught.value)) < 200
    assert parse_point(f"updates:{'9' * 18}", ["updates"], "--rewind").count == 10**18 - 1


def test_exactly_one_amount_is_given() -> None:
    weights = random_weights(a=(2, 2))
    for amounts in ({}, {"rate": 0.5, "survivors": 2}):
        with pytest.raises(PruneError, match="exactly one"):
            prune(weights, weights, **amounts)


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    weights = random_weights(a__weight=(30, 30))
    for amount in ({"rate": numpy.float32(0.2)}, {"survivors": numpy.int64(720)}):
        ticket = prune(weights, weights, seed=numpy.int64(3), rewind_point="none", **amount)
        ticket.save(tmp_path / "t")
        assert Ticket.load(tmp_path / "t").masks.surviving == 720
        assert control_ticket("random", ticket, numpy.int64(3), fresh=weights).digest
    with pytest.raises(PruneError, match=r"survivors must be a whole number, not 72\.5"):
        prune(weights, weights, survivors=72.5)


def test_weights_that_the_previous_ticket_prunes_must_be_dead() -> None:
    """A chain by hand whose training forgot the masks."""
    weights = random_weights(a__weight=(10, 10))
    ticket = prune(weights, weights, rate=0.2, rewind_point="none")
    with pytest.warns(UserWarning, match="20 weights that the previous ticket prunes are not zero in "):
        prune(weights, weights, rate=0.2, previous=ticket)
    dead = Weights(ticket.masks.apply(weights.tensors))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prune(dead, weights, rate=0.2, previous=ticket)
