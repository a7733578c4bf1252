"""Distances between packed masks are those of the masks themselves."""

import pytest
import torch

from lottery_core.errors import MaskError
from lottery_core.pruning.settling import PackedMask, changed, jaccard
from lottery_core.tickets import Masks


def random_masks(seed: int, share: float) -> Masks:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"a.weight": (7, 13), "a.bias": (3,), "b.weight": (5, 2, 9)}
    return Masks({name: torch.rand(shape, generator=generator) < share for name, shape in shapes.items()})


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_counts_and_distances_are_those_of_the_masks(share: float) -> None:
    one, other = random_masks(1, share), random_masks(2, share)
    packed, packed_other = PackedMask.of(one), PackedMask.of(other)
    assert (packed.pool, packed.surviving) == (one.pool, one.surviving)
    both = sum(int((one[name] & other[name]).sum()) for name in one)
    assert changed(packed, packed_other) == pytest.approx(1 - both / one.surviving)
    assert jaccard(packed, packed_other) == pytest.approx(one.overlap(other))


def test_equal_masks_have_no_distance_and_disjoint_ones_all_of_it() -> None:
    some = torch.tensor([True, True, False, False])
    mask, same, other = (PackedMask.of(Masks({"w": values})) for values in (some, some.clone(), ~some))
    assert (changed(mask, same), jaccard(mask, same)) == (0, 1)
    assert (changed(mask, other), jaccard(mask, other)) == (1, 0)


def test_another_pool_is_refused() -> None:
    mask = PackedMask.of(Masks({"w": torch.ones(4)}))
    with pytest.raises(MaskError, match="different pools"):
        changed(mask, PackedMask.of(Masks({"w": torch.ones(40)})))
    with pytest.raises(MaskError, match="no survivor"):
        changed(PackedMask.of(Masks({"w": torch.zeros(4)})), mask)
