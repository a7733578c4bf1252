"""Layers that lose units, in working copies of their tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from lottery_core.dialects import GATES
from lottery_core.inference.shrink.network import Units

_CELL = 2  # torch.nn.LSTM orders its gates: input, forget, cell, output


class Layer:
    """A layer that loses units; removed units are set to 0 in the working copies.

    :param unit: the layer and what reads it
    :param work: working copies of all tensors, biases in float64
    """

    def __init__(self, unit: Units, work: dict[str, Tensor]) -> None:
        self.name, self.readers, self.work, self.unit = unit.layer, unit.readers, work, unit
        self.rows = [work[name] for name in unit.rows if name in work]
        self.count = self.rows[0].shape[0] // unit.gates
        self.removed = torch.zeros(self.count, dtype=torch.bool)

    @property
    def constants(self) -> Tensor:
        """The values of units that nothing feeds, before any activation, float64 (units)."""
        return self.rows[1] if len(self.rows) > 1 else torch.zeros(self.count, dtype=torch.float64)

    def _fed(self) -> Tensor:
        return (self.rows[0].flatten(1) != 0).any(1)

    def _read_within(self) -> Tensor:
        # Which units other units of the same layer read.
        return torch.zeros_like(self.removed)

    def removable(self) -> Tensor:
        """Return which units can be removed now, bool (units)."""
        read, foldable = self._read_within(), torch.ones_like(self.removed)
        for reads in self.readers:
            used = (reads.columns(self.work[reads.weight], self.count) != 0).any(2).any(0)
            read |= used
            if reads.padded or reads.bias not in self.work:
                foldable &= ~used | (reads.constant(self.constants) == 0)
        return ~self.removed & (~read | (~self._fed() & foldable))

    def remove(self, units: Tensor) -> None:
        """Remove units; what they contribute goes to the biases of their readers.

        :param units: which units, bool (units)
        """
        constant = units & ~self._fed()
        for reads in self.readers:
            reader, bias = self.work[reads.weight], self.work.get(reads.bias)
            if bias is not None:
                weights = reads.columns(reader, self.count)[:, constant].double().sum(2)
                bias += weights @ reads.constant(self.constants)[constant]
            reader.index_fill_(1, reads.indices(units.nonzero().flatten()), 0.0)
        for tensor in self.rows:
            tensor[units.repeat(self.unit.gates)] = 0.0
        self.removed |= units

    def kept(self, width: int = 1) -> Tensor:
        """Return the indices of the remaining units, in order, then of removed ones up to ``width``."""
        alive, removed = (~self.removed).nonzero().flatten(), self.removed.nonzero().flatten()
        return torch.cat([alive, removed[: max(0, width - len(alive))]])


class LstmLayer(Layer):
    """A layer of an LSTM: a unit whose cell gate is 0 stays at 0, the state that it begins with."""

    @property
    def constants(self) -> Tensor:
        """The values of units that nothing feeds: 0, float64 (units)."""
        return torch.zeros(self.count, dtype=torch.float64)

    def _fed(self) -> Tensor:
        cell = slice(_CELL * self.count, (_CELL + 1) * self.count)
        return torch.stack([(rows[cell].reshape(self.count, -1) != 0).any(1) for rows in self.rows]).any(0)

    def _read_within(self) -> Tensor:
        weights = self.work[self.unit.columns].reshape(GATES, self.count, self.count) != 0
        others = ~torch.eye(self.count, dtype=torch.bool)  # what a unit reads of itself keeps nothing else alive
        return (weights.any(0) & others).any(0)

    def remove(self, units: Tensor) -> None:
        """Remove units, and what other units read of them.

        :param units: which units, bool (units)
        """
        super().remove(units)
        self.work[self.unit.columns][:, units] = 0.0
