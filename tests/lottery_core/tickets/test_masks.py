"""The named set of masks."""

from __future__ import annotations

import math

import pytest
import torch

from lottery_core import Masks
from lottery_core.errors import MaskError


def masks(**rows: list[int]) -> Masks:
    return Masks({name: torch.tensor(row, dtype=torch.bool) for name, row in rows.items()})


@pytest.mark.parametrize(
    ("row", "surviving"), [([1, 1, 1], 3), ([0, 1, 0], 1), ([0, 0, 0], 0)], ids=["full", "part", "empty"]
)
def test_counts(row: list[int], surviving: int) -> None:
    found = masks(a=row)
    assert (found.pool, found.surviving, found.pruned) == (3, surviving, 3 - surviving)


def test_ones_and_zeros_of_any_type_are_taken_and_nothing_else() -> None:
    assert Masks({"a": torch.tensor([0.0, 1.0])})["a"].dtype == torch.bool
    for bad in (torch.tensor([0.5, 1.0]), torch.tensor([2]), torch.tensor([math.nan])):
        with pytest.raises(MaskError, match="'a'"):
            Masks({"a": bad})
    with pytest.raises(MaskError, match="empty"):
        Masks({})


def test_apply_gives_exact_positive_zeros_even_for_inf_nan_and_negatives() -> None:
    found = masks(a=[0, 0, 0, 1]).apply({"a": torch.tensor([math.inf, math.nan, -1.0, -2.0])})["a"]
    assert found.tolist() == [0.0, 0.0, 0.0, -2.0]
    assert not bool(torch.signbit(found[:3]).any())


def test_apply_refuses_other_shapes() -> None:
    with pytest.raises(MaskError, match=r"'a'.*\(2,\).*\(3,\)"):
        masks(a=[1, 1, 1]).apply({"a": torch.zeros(2)})
    with pytest.raises(MaskError, match="missing"):
        masks(a=[1]).apply({})


def test_comparison() -> None:
    small, large = masks(a=[1, 0, 0], b=[1]), masks(b=[1], a=[1, 1, 0])
    assert small != large
    assert small == masks(b=[1], a=[1, 0, 0])
    assert small.subset_of(large)
    assert not large.subset_of(small)
    assert small.overlap(large) == pytest.approx(2 / 3)
    assert small.digest() == masks(b=[1], a=[1, 0, 0]).digest() != large.digest()
    with pytest.raises(MaskError):
        small.overlap(masks(c=[1]))


def test_a_layer_has_collapsed_when_a_matrix_has_no_survivor() -> None:
    found = Masks({"w": torch.zeros(2, 2), "b": torch.zeros(2), "v": torch.ones(2, 2)})
    assert found.collapsed() == ["w"]
    assert Masks({"of no inputs": torch.ones(4, 0)}).collapsed() == []
