"""Remove dead units of a feed-forward network: a smaller dense network with the same outputs.

A unit is a row of a linear layer or an output channel of a convolution. It is dead and removed if

- no layer reads it: all weights from it are 0; or
- it is constant: all its input weights are 0. Its value ``activation(bias)`` is added to the biases of the layers that
  read it. It is kept if that would not be exact, which is the case if a reader has no bias or pads with zeros (the
  constant ends at the border), unless the constant is 0.

Removing a unit can make others dead, so this is repeated until nothing changes. This module works on named tensors and
a description of which layer reads which; the plugins describe the networks of their frameworks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn

Activation = Callable[[Tensor], Tensor]
# Stateless elementwise modules: a constant unit stays constant after them.
ELEMENTWISE: tuple[type[nn.Module], ...] = (
    *(nn.Identity, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus),
    *(nn.Tanh, nn.Sigmoid, nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.Softsign, nn.LogSigmoid),
)


@dataclass(frozen=True)
class Reads:
    """How one layer reads the units of another: unit i is the ``block`` input columns from ``start + i * block`` on.

    :param layer: the reading layer; its tensors are ``LAYER.weight`` (out, in, ...) and optionally ``LAYER.bias`` (out)
    :param activations: elementwise functions applied between the two layers, in this order
    :param start: first input column
    :param block: input columns per unit: 1, or height * width of a flattened channel
    :param padded: whether the reading layer is a convolution that pads with zeros
    """

    layer: str
    activations: tuple[Activation, ...] = ()
    start: int = 0
    block: int = 1
    padded: bool = False

    def columns(self, weight: Tensor, units: int) -> Tensor:
        """Return the columns of the reader's weight that read ``units`` units, (out, units, columns per unit)."""
        part = weight.narrow(1, self.start, units * self.block)
        return part.reshape(weight.shape[0], units, -1)

    def indices(self, units: Tensor) -> Tensor:
        """Return the input columns of the units with these indices, in the same order."""
        return (units[:, None] * self.block + torch.arange(self.block) + self.start).flatten()

    def constant(self, bias: Tensor) -> Tensor:
        """Return the values that the reader gets from constant units with these biases, (units)."""
        return reduce(lambda value, function: function(value), self.activations, bias)


@dataclass(frozen=True)
class Units:
    """The units of one layer and every layer that reads them.

    :param layer: the layer; its tensors are ``LAYER.weight`` (units, in, ...) and optionally ``LAYER.bias`` (units)
    :param readers: all layers that read the units; if one is missing, the shrunk network does not work
    """

    layer: str
    readers: tuple[Reads, ...]


@dataclass(frozen=True)
class Report:
    """The report of :func:`shrink`.

    :param units: layer -> number of units before and after
    :param parameters: number of parameters of the whole network before and after
    """

    units: Mapping[str, tuple[int, int]]
    parameters: tuple[int, int]

    @property
    def removed(self) -> int:
        """Number of removed units."""
        return sum(before - after for before, after in self.units.values())

    def __bool__(self) -> bool:
        return self.removed > 0

    @property
    def line(self) -> str:
        """Return the report in one line."""
        before, after = self.parameters
        if not self:
            return f"no unit is dead: nothing to remove ({before:,} parameters)"
        total = sum(count for count, _ in self.units.values())
        return f"removed {self.removed:,} of {total:,} units; parameters {before:,} -> {after:,} ({after / before:.1%})"

    def __str__(self) -> str:
        width = max([len("layer"), *map(len, self.units)])
        lines = [f"{'layer':{width}}  units  left"]
        lines += [f"{layer:{width}}  {before:5}  {after:4}" for layer, (before, after) in self.units.items()]
        return "\n".join([*lines, self.line])


@dataclass(frozen=True)
class Shrunk:
    """The result of :func:`shrink`.

    :param tensors: every parameter of the smaller network, by name
    :param widths: layer -> number of units before and after
    """

    tensors: dict[str, Tensor]
    widths: dict[str, tuple[int, int]]

    def report(self, before: Mapping[str, Tensor], without: Callable[[str], bool] = lambda name: False) -> Report:
        """Report what was removed.

        :param before: the tensors before shrinking
        :param without: whether a tensor, by its name, is left out of the counts, e.g. those of target networks
        """
        counts = [
            sum(t.numel() for name, t in tensors.items() if not without(name)) for tensors in (before, self.tensors)
        ]
        widths = {layer: width for layer, width in self.widths.items() if not without(f"{layer}.weight")}
        return Report(widths, (counts[0], counts[1]))


@torch.no_grad()
def shrink(
    tensors: Mapping[str, Tensor],
    units: Sequence[Units],
    *,
    alike: Iterable[Collection[str]] = (),
    level: Iterable[Collection[str]] = (),
) -> Shrunk:
    """Remove every dead unit.

    The outputs stay the same up to the rounding of biases that absorb constants (computed in float64, then rounded to
    the bias's type). A layer keeps at least one unit, if necessary one of zeros.

    :param tensors: every parameter, by name, tied ones once; not modified
    :param units: layers that may lose units
    :param alike: sets of layers that lose the same units, those that are dead in all of them (a target network follows
        its online network unit by unit)
    :param level: sets of layers that must have the same width; narrower ones keep units of zeros. A set that contains
        a layer of an ``alike`` set must contain all of that set
    :returns: the smaller network; tensors that ``units`` does not involve are the given ones, not copies
    """
    work = _working_copies(tensors, units)
    shrinking = {unit.layer: _Layer(unit, work) for unit in units}
    together = [[shrinking[name] for name in names if name in shrinking] for names in alike]
    joined = {layer.name for group in together for layer in group}
    together += [[layer] for layer in shrinking.values() if layer.name not in joined]
    changed = True
    while changed:
        changed = False
        for group in filter(None, together):
            removable = reduce(torch.logical_and, [layer.removable() for layer in group])
            if bool(removable.any()):
                changed = True
                for layer in group:
                    layer.remove(removable)
    kept = {name: layer.kept() for name, layer in shrinking.items()}
    for names in level:
        present = [name for name in names if name in kept]
        widest = max((len(kept[name]) for name in present), default=0)
        kept |= {name: shrinking[name].kept(widest) for name in present}
    widths = {name: (layer.count, len(kept[name])) for name, layer in shrinking.items()}
    return Shrunk({**tensors, **_sliced(tensors, work, units, kept)}, widths)


def _working_copies(tensors: Mapping[str, Tensor], units: Sequence[Units]) -> dict[str, Tensor]:
    layers = {layer: None for unit in units for layer in (unit.layer, *(reads.layer for reads in unit.readers))}
    weights = {f"{layer}.weight": tensors[f"{layer}.weight"].clone() for layer in layers}
    biases = {name: tensors[name].double() for layer in layers if (name := f"{layer}.bias") in tensors}
    return {name: tensor.cpu() for name, tensor in (weights | biases).items()}


class _Layer:
    """A layer that loses units; removed units are set to 0 in the working copies."""

    def __init__(self, unit: Units, work: dict[str, Tensor]) -> None:
        self.name, self.readers, self.work = unit.layer, unit.readers, work
        self.weight = work[f"{unit.layer}.weight"]
        self.count = self.weight.shape[0]
        bias = work.get(f"{unit.layer}.bias")
        self.bias = torch.zeros(self.count, dtype=torch.float64) if bias is None else bias
        self.removed = torch.zeros(self.count, dtype=torch.bool)

    def _fed(self) -> Tensor:
        return (self.weight.flatten(1) != 0).any(1)

    def removable(self) -> Tensor:
        read, foldable = torch.zeros_like(self.removed), torch.ones_like(self.removed)
        for reads in self.readers:
            used = (reads.columns(self.work[f"{reads.layer}.weight"], self.count) != 0).any(2).any(0)
            read |= used
            if reads.padded or f"{reads.layer}.bias" not in self.work:
                foldable &= ~used | (reads.constant(self.bias) == 0)
        return ~self.removed & (~read | (~self._fed() & foldable))

    def remove(self, units: Tensor) -> None:
        constant = units & ~self._fed()
        for reads in self.readers:
            reader, bias = self.work[f"{reads.layer}.weight"], self.work.get(f"{reads.layer}.bias")
            if bias is not None:
                weights = reads.columns(reader, self.count)[:, constant].double().sum(2)
                bias += weights @ reads.constant(self.bias)[constant]
            reader.index_fill_(1, reads.indices(units.nonzero().flatten()), 0.0)
        self.weight[units] = 0.0
        self.bias[units] = 0.0
        self.removed |= units

    def kept(self, width: int = 1) -> Tensor:
        """Return the indices of the remaining units, in order, then of removed ones up to ``width``."""
        alive, removed = (~self.removed).nonzero().flatten(), self.removed.nonzero().flatten()
        return torch.cat([alive, removed[: max(0, width - len(alive))]])


def _sliced(
    tensors: Mapping[str, Tensor], work: Mapping[str, Tensor], units: Sequence[Units], kept: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    sliced = dict(work)
    # From the last column to the first, so that earlier columns keep their positions.
    reading = [(reads, unit.layer) for unit in units for reads in unit.readers]
    for reads, layer in sorted(reading, key=lambda pair: -pair[0].start):
        name = f"{reads.layer}.weight"
        end = reads.start + work[f"{layer}.weight"].shape[0] * reads.block
        columns = torch.arange(sliced[name].shape[1])
        columns = torch.cat([columns[: reads.start], reads.indices(kept[layer]), columns[end:]])
        sliced[name] = sliced[name].index_select(1, columns)
    for layer, rows in kept.items():
        for name in (f"{layer}.weight", f"{layer}.bias"):
            if name in sliced:
                sliced[name] = sliced[name].index_select(0, rows)
    return {name: tensor.to(tensors[name]).contiguous() for name, tensor in sliced.items()}
