"""How much memory a file may ask for: no more than its own bytes can account for."""

from __future__ import annotations

import math
from collections.abc import Sequence

# Compressed zeros cost next to nothing, so a small file could ask for gigabytes. Pruned to 99.9% a model has about 200
# parameters for each byte of its file; small models have any number, since they take little memory in any case.
_MOST_PER_BYTE = 512
_ALWAYS = 1 << 26  # bytes
_LARGEST_EMPTY = 1 << 24  # elements


def believable(parameters: int, memory: int, held: int) -> bool:
    """Whether a file can hold as many pruned parameters as its header claims.

    :param parameters: claimed number of parameters
    :param memory: bytes that they take in memory
    :param held: bytes that the file has for them
    """
    return memory <= _ALWAYS or parameters <= _MOST_PER_BYTE * held


def why_no_shape(shape: Sequence[int]) -> str | None:
    """Why no tensor has such a shape; ``None`` for one that it may have.

    A tensor without elements takes no memory whatever its other dimensions claim, until something sums over them.

    :param shape: claimed sizes of the dimensions
    """
    if 0 in shape and math.prod(max(1, size) for size in shape) > _LARGEST_EMPTY:
        return f"it claims to be an empty tensor of {len(shape)} dimensions, one of {max(shape)}"
    return None
