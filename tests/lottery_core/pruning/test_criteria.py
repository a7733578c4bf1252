"""Criteria: exact counts whatever the scores, shares by layer, and the criterion that a ticket names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from lottery_core import Masks, Ticket, Weights, prune, prune_masks
from lottery_core.errors import ConfigError, PruneError
from lottery_core.pruning.criteria import CRITERIA, MAGNITUDE, Criterion, criterion_named
from lottery_core.pruning.kinds import control_ticket
from lottery_core.tickets import describe
from tests.lottery_core.helpers import random_weights

SHAPES = {"a__weight": (40, 30), "a__bias": (40,), "b__weight": (7, 40), "b__bias": (7,)}
POOL = 1200 + 40 + 280 + 7


def reference(trained: Weights, rewind: Weights, survivors: int, masks: Masks | None = None) -> dict[str, Tensor]:
    """What ``magnitude-increase`` leaves, by a sort of everything; no ties among random floats."""
    scores = {name: trained.tensors[name].abs() - rewind.tensors[name].abs() for name in trained.tensors}
    if masks is not None:
        scores = {name: torch.where(masks[name], score, -torch.inf) for name, score in scores.items()}
    threshold = torch.cat([score.reshape(-1) for score in scores.values()]).sort(descending=True).values[survivors - 1]
    return {name: score >= threshold for name, score in scores.items()}


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("survivors", [1, 2, 47, 800, POOL - 1, POOL])
def test_exactly_as_many_survive(criterion: str, survivors: int) -> None:
    trained, rewind = random_weights(1, **SHAPES), random_weights(2, **SHAPES)
    ticket = prune(trained, rewind, survivors=survivors, criterion=criterion)
    assert ticket.masks.surviving == survivors
    assert ticket.origin.criterion == criterion
    less = max(1, survivors // 3)
    following = prune(trained, rewind, survivors=less, previous=ticket)
    assert following.masks.surviving == less
    assert following.masks.subset_of(ticket.masks)
    assert following.origin.criterion == criterion


def test_magnitude_increase_ranks_by_growth() -> None:
    trained, rewind = random_weights(1, **SHAPES), random_weights(2, **SHAPES)
    ticket = prune(trained, rewind, survivors=300, criterion="magnitude-increase")
    expected = reference(trained, rewind, 300)
    assert all(torch.equal(mask, expected[name]) for name, mask in ticket.masks.items())
    again = prune(trained, rewind, survivors=100, previous=ticket)
    expected = reference(trained, rewind, 100, ticket.masks)
    assert all(torch.equal(mask, expected[name]) for name, mask in again.masks.items())


def test_magnitude_layer_keeps_the_same_share_of_each_tensor() -> None:
    trained = random_weights(1, **SHAPES)
    ticket = prune(trained, trained, survivors=509, criterion="magnitude-layer")
    kept = ticket.masks.survivors()
    assert sum(kept.values()) == 509
    for name, tensor in trained.tensors.items():
        assert abs(kept[name] - 509 * tensor.numel() / POOL) < 1
        threshold = tensor.abs().reshape(-1).sort(descending=True).values[kept[name] - 1]
        assert torch.equal(ticket.masks[name], tensor.abs() >= threshold)


def test_shares_stay_exact_over_twenty_rounds() -> None:
    trained, ticket = random_weights(1, **SHAPES), None
    left = POOL
    for _ in range(20):
        ticket = prune(trained, trained, rate=0.2, previous=ticket, criterion="magnitude-layer")
        left -= round(0.2 * left)
        assert ticket.masks.surviving == left


def test_negative_and_equal_scores_are_counted_exactly() -> None:
    """Bisection over the floats' bits: more ties than a bracket can hold, on both sides of zero, and -0.0."""
    values = torch.tensor([-2.0, -1.0, -0.0, 0.0, 1.0, 3.0]).repeat(60_000)
    same = Criterion("same", "the value itself", lambda trained, rewind: trained, elementwise=True)
    for survivors in (1, 60_000, 60_001, 119_999, 180_000, 250_000, 299_999, 359_999):
        masks = prune_masks({"a": values}, ["a"], survivors, same)
        assert masks.surviving == survivors
        kept, pruned = values[masks["a"]], values[~masks["a"]]
        assert float(kept.min()) >= float(pruned.max())


def test_a_criterion_may_look_at_whole_tensors() -> None:
    """Scores relative to the largest weight of the tensor: not element by element."""
    relative = Criterion(
        "relative", "relative to the largest", lambda trained, rewind: trained.abs() / trained.abs().max()
    )
    trained = random_weights(3, **SHAPES)
    scaled = {**trained.tensors, "a.weight": trained.tensors["a.weight"] * 1000}
    masks = prune_masks(trained.tensors, list(trained.tensors), 400, relative)
    assert masks == prune_masks(scaled, list(scaled), 400, relative)
    assert masks.surviving == 400
    assert masks != prune_masks(trained.tensors, list(trained.tensors), 400)


def test_bad_scores_are_refused_by_name() -> None:
    trained = random_weights(1, **SHAPES)
    broken = Criterion("broken", "divides by zero", lambda trained, rewind: trained / 0, elementwise=True)
    with pytest.raises(PruneError, match=r"the criterion broken gives \d+ scores of 'a.bias' that are NaN or infinite"):
        prune_masks(trained.tensors, list(trained.tensors), 10, broken)
    short = Criterion("short", "another shape", lambda trained, rewind: trained[:1])
    with pytest.raises(PruneError, match="the criterion short gives scores of shape"):
        prune_masks(trained.tensors, list(trained.tensors), 10, short)
    with pytest.raises(PruneError, match="magnitude-increase needs the weights at the rewind point"):
        prune_masks(trained.tensors, list(trained.tensors), 10, CRITERIA["magnitude-increase"])


def test_nan_weights_are_refused_by_every_criterion() -> None:
    trained = random_weights(1, **SHAPES)
    trained.tensors["b.weight"][3, 3] = torch.nan
    for criterion in CRITERIA:
        with pytest.raises(PruneError, match=r"1 weights of 'b.weight' are NaN or infinite"):
            prune(trained, random_weights(2, **SHAPES), survivors=100, criterion=criterion)


def test_a_ticket_file_keeps_its_criterion(tmp_path: Path) -> None:
    trained = random_weights(1, **SHAPES)
    for criterion in CRITERIA:
        ticket = prune(trained, random_weights(2, **SHAPES), survivors=100, criterion=criterion)
        ticket.save(tmp_path / "t.safetensors")
        loaded = Ticket.load(tmp_path / "t.safetensors")
        assert loaded.origin.criterion == criterion
        assert loaded.digest == ticket.digest
        assert describe(loaded)["criterion"] == criterion
        assert control_ticket("permuted", ticket, 1).origin.criterion == criterion
        # Files of 0.1, which knew one criterion, stay what they were.
        assert ("criterion" in ticket.origin.as_json()) == (criterion != MAGNITUDE.name)


def test_unknown_criterion() -> None:
    with pytest.raises(ConfigError, match="unknown criterion 'magnitud': did you mean magnitude"):
        criterion_named("magnitud")
