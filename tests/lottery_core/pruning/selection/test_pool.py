"""The k-th smallest magnitude, against a plain sort."""

from __future__ import annotations

import math

import pytest
import torch

from lottery_core import Masks, prune_masks
from lottery_core.errors import PruneError
from lottery_core.pruning.selection.pool import Candidate, Pool, smallest


def reference(tensors: dict[str, torch.Tensor], alive: dict[str, torch.Tensor], survivors: int) -> torch.Tensor:
    """The slow and obvious way: a stable sort of the survivors' magnitudes, first ones in the pool first."""
    flat = torch.cat([tensors[name].reshape(-1).double().abs() for name in sorted(tensors)])
    mask = torch.cat([alive[name].reshape(-1) for name in sorted(tensors)])
    order = torch.sort(flat.masked_fill(~mask, -1), stable=True).indices
    result = mask.clone()
    dead = int((~mask).sum())
    result[order[: dead + int(mask.sum()) - survivors]] = False
    return result


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(shape)


def few_values(*shape: int) -> torch.Tensor:
    return torch.randint(-3, 4, shape).float()


def heavy_tail(*shape: int) -> torch.Tensor:
    return torch.randn(shape).pow(9).clamp(-60000, 60000)  # what fits into float16


def all_equal(*shape: int) -> torch.Tensor:
    return torch.full(shape, -0.25)


def sorted_values(*shape: int) -> torch.Tensor:
    return torch.randn(shape).flatten().sort().values.reshape(shape)


@pytest.mark.parametrize("values", [normal, few_values, heavy_tail, all_equal, sorted_values])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("fraction", [0.0001, 0.2, 0.5, 0.98, 0.9999])
def test_masks_equal_those_of_a_stable_sort(values, dtype: torch.dtype, fraction: float) -> None:
    torch.manual_seed(0)
    tensors = {"b": values(300, 500).to(dtype), "a": values(70_001).to(dtype), "c": values(3, 4, 5).to(dtype)}
    alive = {name: torch.rand(tensor.shape) < 0.7 for name, tensor in tensors.items()}
    survivors = max(1, round((1 - fraction) * sum(int(mask.sum()) for mask in alive.values())))
    found = prune_masks(tensors, Masks(alive), survivors)
    flat = torch.cat([found[name].reshape(-1) for name in sorted(tensors)])
    assert found.surviving == survivors
    assert torch.equal(flat, reference(tensors, alive, survivors))


def test_values_of_pruned_parameters_play_no_part() -> None:
    tensors = {"a": torch.tensor([0.0, 5.0, 1.0, 2.0, math.pi])}
    alive = Masks({"a": torch.tensor([False, False, True, True, True])})
    assert prune_masks(tensors, alive, 2)["a"].tolist() == [False, False, False, True, True]


def test_ties_break_by_position_and_the_same_way_every_time() -> None:
    tensors = {"b": torch.ones(4), "a": -torch.ones(4)}
    found = prune_masks(tensors, list(tensors), 3)
    assert found["a"].tolist() == [False] * 4
    assert found["b"].tolist() == [False, True, True, True]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_numbers_are_refused_by_name(bad: float) -> None:
    tensors = {"a": torch.ones(10), "broken": torch.ones(10).index_fill_(0, torch.tensor([3]), bad)}
    for survivors in (5, 20):
        with pytest.raises(PruneError, match="1 weights of 'broken' are NaN or infinite"):
            prune_masks(tensors, list(tensors), survivors)


@pytest.mark.parametrize("survivors", [0, -1, 11])
def test_impossible_counts_are_refused(survivors: int) -> None:
    with pytest.raises(PruneError, match="cannot keep"):
        prune_masks({"a": torch.randn(10)}, ["a"], survivors)


def test_denormals_are_magnitudes_like_others() -> None:
    tiny = torch.tensor([1e-45, 0.0, 3e-45, 1e-44])
    threshold, below = smallest(Pool([Candidate("a", tiny)]), 3)
    assert (threshold, below) == (float(tiny[2]), 2)
