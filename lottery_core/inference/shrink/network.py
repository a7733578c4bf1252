"""Describe a network for :func:`shrink`: the layers that have units, and which layers read them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn

from lottery_core.dialects import GATES

Activation = Callable[[Tensor], Tensor]
# Stateless elementwise modules: a constant unit stays constant after them.
ELEMENTWISE: tuple[type[nn.Module], ...] = (
    *(nn.Identity, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus),
    *(nn.Tanh, nn.Sigmoid, nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.Softsign, nn.LogSigmoid, nn.Softshrink),
    *(nn.Hardshrink, nn.Tanhshrink, nn.Threshold),
)


@dataclass(frozen=True)
class Reads:
    """How one layer reads the units of another: unit i is the ``block`` input columns from ``start + i * block`` on.

    :param layer: the reading layer; its tensors are ``LAYER.weight`` (out, in, ...) and optionally ``LAYER.bias`` (out)
    :param activations: elementwise functions applied between the two layers, in this order
    :param start: first input column
    :param block: input columns per unit: 1, or height * width of a flattened channel
    :param padded: whether the reading layer is a convolution that pads with zeros
    :param recurrent: whether the reading layer is an LSTM's, see :class:`Units`
    """

    layer: str
    activations: tuple[Activation, ...] = ()
    start: int = 0
    block: int = 1
    padded: bool = False
    recurrent: bool = False

    @property
    def weight(self) -> str:
        """The name of the weight that reads the units."""
        return _recurrent(self.layer, "weight_ih") if self.recurrent else f"{self.layer}.weight"

    @property
    def bias(self) -> str:
        """The name of the bias that is added to what is read, if there is one."""
        return _recurrent(self.layer, "bias_ih") if self.recurrent else f"{self.layer}.bias"

    def columns(self, weight: Tensor, units: int) -> Tensor:
        """Return the columns of the reader's weight that read ``units`` units, (out, units, columns per unit)."""
        part = weight.narrow(1, self.start, units * self.block)
        return part.reshape(weight.shape[0], units, -1)

    def indices(self, units: Tensor) -> Tensor:
        """Return the input columns of the units with these indices, in the same order."""
        return (units[:, None] * self.block + torch.arange(self.block) + self.start).flatten()

    def constant(self, bias: Tensor) -> Tensor:
        """Return the values that the reader gets from constant units with these biases, (units)."""
        return reduce(lambda value, function: function(value), self.activations, bias.clone())  # they may work in place


@dataclass(frozen=True)
class Units:
    """The units of one layer and every layer that reads them.

    :param layer: the layer; its tensors are ``LAYER.weight`` (units, in, ...) and optionally ``LAYER.bias`` (units). Of
        an LSTM, ``NAME.0`` is the first layer, with the tensors ``NAME.weight_ih_l0`` (4 units, in) and so on
    :param readers: all layers that read the units; if one is missing, the shrunk network does not work
    :param recurrent: whether the layer is an LSTM's, in one direction, whose first state is zero
    """

    layer: str
    readers: tuple[Reads, ...]
    recurrent: bool = False

    @property
    def gates(self) -> int:
        """Rows of one unit in each of :attr:`rows`."""
        return GATES if self.recurrent else 1

    @property
    def rows(self) -> Iterator[str]:
        """The names of the tensors that may have rows of the units; the first one always has them."""
        if self.recurrent:
            return (_recurrent(self.layer, word) for word in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        return iter((f"{self.layer}.weight", f"{self.layer}.bias"))

    @property
    def columns(self) -> str:
        """The name of the weight with which the units read each other; empty if they do not."""
        return _recurrent(self.layer, "weight_hh") if self.recurrent else ""


def _recurrent(layer: str, word: str) -> str:
    name, _, number = layer.rpartition(".")
    return f"{name}.{word}_l{number}"
