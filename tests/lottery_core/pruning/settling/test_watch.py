"""The watch gives the masks that pruning gives, and ends a search round by the network alone."""

import math
import time

import pytest
import torch

from lottery_core.pruning import MaskWatch, Search, prune, schedule
from lottery_core.tickets import Weights

SHAPES = {"encoder.weight": (40, 30), "encoder.bias": (40,), "decoder.weight": (50, 30)}


def values(seed: int) -> "dict[str, torch.Tensor]":
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}


@pytest.mark.parametrize("scope_shares", ["together", "separate"])
@pytest.mark.parametrize("criterion", ["magnitude", "magnitude-layer", "magnitude-increase"])
def test_the_masks_are_those_of_the_next_round(criterion: str, scope_shares: str) -> None:
    start, trained = values(1), values(2)
    rewind, end = Weights(start), Weights(trained)
    first = prune(end, rewind, rate=0.3, criterion=criterion, scope_shares=scope_shares)
    pool = sum(value.numel() for value in start.values())
    watch = MaskWatch(sorted(start), schedule(pool, 0.3, 1)[1], None, 1, criterion, scope_shares)
    watch.start(start)
    assert watch.next_masks(trained) == first.masks
    later = {name: value + 0.01 for name, value in trained.items()}
    masked = first.masks.apply(later)
    second = prune(Weights(masked), rewind, rate=0.3, previous=first)
    watch = MaskWatch(first.masks, schedule(pool, 0.3, 2)[2], None, 1, criterion, scope_shares)
    watch.start(first.start())
    assert watch.next_masks(masked) == second.masks


def test_norms_outside_the_pool_keep_a_survivor_in_each_slice() -> None:
    generator = torch.Generator().manual_seed(1)
    norm, name = "0.parametrizations.weight.original0", "0.parametrizations.weight.original1"
    tensors = {norm: torch.ones(8, 1), name: torch.randn(8, 6, generator=generator)}
    tensors[name][2:5] *= 1e-4
    trained = Weights(tensors)
    ticket = prune(trained, trained, rate=0.5, scope="original1")
    watch = MaskWatch(list(ticket.masks), ticket.masks.surviving)
    assert watch.next_masks(tensors) == ticket.masks
    assert bool(ticket.masks[name].any(1).all())


def follow(watch: MaskWatch, speed: "list[float]") -> "list[float]":
    """Feed weights that move from one set to another; returns the shares of the checks."""
    one, other = values(1), values(2)
    watch.start(one)
    checked = []
    for step in range(1, 201):
        share = step / 200
        if watch.due(share):
            way = speed[min(int(share * len(speed)), len(speed) - 1)]
            watch.check(share, {name: one[name] * (1 - way) + other[name] * way for name in one})
            checked.append(share)
        if watch.stopped:
            break
    return checked


def watch_of(search: Search, epochs: int = 1) -> MaskWatch:
    return MaskWatch(sorted(SHAPES), 500, search, epochs)


def test_a_full_training_is_watched_to_its_end() -> None:
    watch = watch_of(Search())
    assert follow(watch, [0, 0.5, 1, 1]) == pytest.approx([check / 20 for check in range(1, 21)])
    assert not watch.stopped
    assert watch.look is not None


@pytest.mark.parametrize(("epochs", "checks"), [(1, 20), (3, 21), (20, 20), (40, 40)])
def test_there_is_a_check_at_the_end_of_each_epoch(epochs: int, checks: int) -> None:
    watch = watch_of(Search(), epochs)
    assert watch.parts == checks
    assert checks % epochs == 0


def test_a_share_ends_the_search_there() -> None:
    watch = watch_of(Search(share=0.33))
    assert follow(watch, [0.5])[-1] == pytest.approx(0.33)
    assert watch.stopped
    assert watch.outcome().startswith("stopped at 33% of the training")


def test_a_settled_mask_ends_the_search() -> None:
    watch = watch_of(Search(threshold=0.02))
    checked = follow(watch, [0.3, 0.6, 1, 1, 1, 1, 1, 1, 1, 1])
    assert watch.stopped
    assert 0.3 < checked[-1] < 1
    assert watch.outcome().startswith(f"settled at {checked[-1]:.0%} of the training")


def test_a_threshold_that_is_never_reached_trains_in_full_and_says_so() -> None:
    watch = watch_of(Search(threshold=1e-6))
    checked = follow(watch, [way / 20 for way in range(20)])
    assert checked[-1] == 1
    assert not watch.stopped
    assert "never settled below 1e-06: trained in full" in watch.outcome()


def test_weights_that_are_not_finite_have_no_distance() -> None:
    watch = watch_of(Search(threshold=0.5))
    watch.start(values(1))
    broken = values(2)
    broken["encoder.bias"][0] = math.nan
    assert watch.check(0.05, broken) is None
    assert not watch.stopped


@pytest.mark.slow
def test_a_check_of_60_million_parameters_is_the_fast_selection() -> None:
    # Against the same work without it: sorting all magnitudes takes several times as long on any machine.
    weights = {"w": torch.randn(60_000_000)}
    watch = MaskWatch(["w"], 48_000_000)
    began = time.process_time()
    watch.start(weights)
    watch.check(0.05, {"w": weights["w"] * 1.01})
    watched = time.process_time() - began
    began = time.process_time()
    weights["w"].abs().sort()
    assert watched < time.process_time() - began
