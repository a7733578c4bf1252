"""Write exact zeros to the pruned elements of a tensor."""

from __future__ import annotations

from types import MappingProxyType

import torch
from torch import Tensor


class Eraser:
    """Sets pruned elements to exactly +0.0, not by a product: inf x 0 is nan, and -1 x 0 is -0.0.

    On a CPU, the bits of the floats are and-ed with zeros or ones, twenty times faster than ``masked_fill_`` with bools
    (which torch does not vectorise), for 4 bytes per parameter. On other devices bools are used, for 1 byte per
    parameter of any type.

    :param mask: bool, True for surviving elements
    :param like: a tensor on the device and of the type of the tensors to erase
    """

    _INTEGERS = MappingProxyType({1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64})

    def __init__(self, mask: Tensor, like: Tensor) -> None:
        self._size = like.element_size()
        self._integer = self._INTEGERS.get(self._size)  # None for complex128
        self.device = like.device
        as_bits = like.device.type == "cpu" and self._integer is not None
        self._bits = -mask.to(self._integer) if as_bits else None  # all ones, or zero
        self._dead = None if as_bits else ~mask.to(like.device)

    def __call__(self, values: Tensor) -> None:
        """Set the pruned elements of ``values`` to zero, in place.

        :param values: a tensor of the mask's shape that tracks no gradient
        """
        if self._bits is None:
            assert self._dead is not None
            values.masked_fill_(self._dead, 0)
        elif values.element_size() == self._size:
            assert self._integer is not None
            values.view(self._integer).bitwise_and_(self._bits)
        else:  # optimizer state in another precision
            values.masked_fill_(self._bits == 0, 0)
