"""The distance between two masks, which are kept as bits: the masks of many checks of a large network fit in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy

from lottery_core.errors import MaskError
from lottery_core.tickets import Masks

_ONES = numpy.array([bin(byte).count("1") for byte in range(256)], dtype=numpy.uint8)  # set bits of each byte


@dataclass(frozen=True, eq=False)
class PackedMask:
    """A mask over a whole pool, one bit per parameter.

    :param bits: the mask's bits, tensor after tensor in the order of the pool; uint8, shape (bytes,)
    :param pool: number of parameters in the pool
    :param surviving: number of surviving parameters
    """

    bits: numpy.ndarray[Any, Any]
    pool: int
    surviving: int

    @classmethod
    def of(cls, masks: Masks) -> PackedMask:
        """Pack masks.

        :param masks: the masks of a pool
        """
        parts = [numpy.packbits(mask.contiguous().reshape(-1).numpy()) for mask in masks.values()]
        bits = numpy.concatenate(parts)
        return cls(bits, masks.pool, _count(bits))


def _count(bits: numpy.ndarray[Any, Any]) -> int:
    return int(_ONES[bits].sum(dtype=numpy.int64))


def changed(mask: PackedMask, other: PackedMask) -> float:
    """Return the share of the survivors of ``mask`` that do not survive in ``other``.

    The share is the same in both directions if both masks have as many survivors.

    :param mask: a mask
    :param other: another mask of the same pool
    :returns: from 0.0 (equal masks) to 1.0 (no survivor in common)
    :raises MaskError: the masks have different pools, or ``mask`` has no survivor
    """
    both = _in_both(mask, other)
    if not mask.surviving:
        raise MaskError("the mask has no survivor")
    return 1.0 - both / mask.surviving


def jaccard(mask: PackedMask, other: PackedMask) -> float:
    """Return the Jaccard index of two masks, see :meth:`lottery_core.tickets.Masks.overlap`.

    :param mask: a mask
    :param other: another mask of the same pool
    :returns: surviving in both over surviving in either; 1.0 for two empty masks
    :raises MaskError: the masks have different pools
    """
    both = _in_both(mask, other)
    either = mask.surviving + other.surviving - both
    return both / either if either else 1.0


def _in_both(mask: PackedMask, other: PackedMask) -> int:
    if mask.pool != other.pool or mask.bits.shape != other.bits.shape:
        raise MaskError("the masks are of different pools")
    return _count(mask.bits & other.bits)
