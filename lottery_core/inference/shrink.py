"""Removing units of a feed-forward network that are dead exactly: a smaller dense network with the same outputs.

A unit is a row of a linear layer or an output channel of a convolution. It goes when

- nothing reads it: no reader has a weight from it that is not 0; or
- nothing feeds it: all its input weights are 0, so it is the constant ``activation(bias)``, which moves into the
  biases of its readers. It stays where that would not be exact: a reader without a bias, or a convolution that pads
  with zeros (the constant ends at the border), unless the constant is 0.

One that goes can leave others unread or unfed, so this is done until nothing changes. Knows tensors by name and who
reads whom; the frameworks' plugins know the latter of their networks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn

Activation = Callable[[Tensor], Tensor]
# Modules that act on each number alone, without state: a constant unit stays one behind them.
ELEMENTWISE: tuple[type[nn.Module], ...] = (
    *(nn.Identity, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus),
    *(nn.Tanh, nn.Sigmoid, nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.Softsign, nn.LogSigmoid),
)


@dataclass(frozen=True)
class Reads:
    """How a layer reads the units of another one: unit i is its input columns ``start + i * block`` and on.

    :param layer: the reader; its tensors are ``LAYER.weight`` (out, in, ...) and, perhaps, ``LAYER.bias`` (out)
    :param activations: what is applied between the two, in this order, element by element
    :param start: the first column
    :param block: columns a unit: 1, or height x width of a flattened channel
    :param padded: the reader is a convolution that pads with zeros
    """

    layer: str
    activations: tuple[Activation, ...] = ()
    start: int = 0
    block: int = 1
    padded: bool = False

    def columns(self, weight: Tensor, units: int) -> Tensor:
        """The view (out, units, the rest) of the reader's weight."""
        part = weight.narrow(1, self.start, units * self.block)
        return part.reshape(weight.shape[0], units, -1)

    def indices(self, units: Tensor) -> Tensor:
        """The columns of ``units`` (their indices), in that order."""
        return (units[:, None] * self.block + torch.arange(self.block) + self.start).flatten()

    def constant(self, bias: Tensor) -> Tensor:
        """What the reader gets of units (units) that nothing feeds."""
        return reduce(lambda value, function: function(value), self.activations, bias)


@dataclass(frozen=True)
class Units:
    """The units of one layer, with everything that reads them.

    :param layer: its tensors are ``LAYER.weight`` (units, in, ...) and, perhaps, ``LAYER.bias`` (units)
    :param readers: all of them; somebody who is not among them would miss what has gone
    """

    layer: str
    readers: tuple[Reads, ...]


@dataclass(frozen=True)
class Report:
    """What went.

    :param units: layer -> its units before and after
    :param parameters: of the whole network before and after
    """

    units: Mapping[str, tuple[int, int]]
    parameters: tuple[int, int]

    @property
    def removed(self) -> int:
        """How many units went."""
        return sum(before - after for before, after in self.units.values())

    def __bool__(self) -> bool:
        return self.removed > 0

    @property
    def line(self) -> str:
        """All of it in one line."""
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
    """A smaller network.

    :param tensors: all that were given, smaller where units went
    :param widths: layer -> its units before and after
    """

    tensors: dict[str, Tensor]
    widths: dict[str, tuple[int, int]]

    def report(self, before: Mapping[str, Tensor], without: Callable[[str], bool] = lambda name: False) -> Report:
        """What went.

        :param before: the tensors that were given
        :param without: names of layers and tensors that are not counted, e.g. those of target networks
        """
        counts = [sum(t.numel() for name, t in of.items() if not without(name)) for of in (before, self.tensors)]
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
    """Remove every unit that is dead.

    The outputs stay what they were, up to the rounding of the biases that constants move into (folded in float64,
    written in the bias's own type). A layer keeps at least one unit, of zeros if need be.

    :param tensors: every parameter once, by name; not changed
    :param units: the layers that may lose units
    :param alike: sets of layers that lose the same units: those that are dead in all of them (a target network
        follows its online network unit by unit)
    :param level: sets of layers that must have one width: the narrower ones keep units of zeros up to it. Where one
        layer of an ``alike`` set is named, name all of its layers
    :returns: the smaller network; tensors that have nothing to do with ``units`` are those that were given
    """
    work = _working_copies(tensors, units)
    dead = {unit.layer: _Layer(unit, work) for unit in units}
    together = [[dead[layer] for layer in layers if layer in dead] for layers in alike]
    joined = {each.name for group in together for each in group}
    together += [[each] for each in dead.values() if each.name not in joined]
    changed = True
    while changed:
        changed = False
        for group in filter(None, together):
            found = reduce(torch.logical_and, [each.removable() for each in group])
            if bool(found.any()):
                changed = True
                for each in group:
                    each.remove(found)
    kept = {name: each.kept() for name, each in dead.items()}
    for layers in level:
        present = [layer for layer in layers if layer in kept]
        widest = max((len(kept[layer]) for layer in present), default=0)
        kept |= {layer: dead[layer].kept(widest) for layer in present}
    widths = {name: (each.count, len(kept[name])) for name, each in dead.items()}
    return Shrunk({**tensors, **_sliced(tensors, work, units, kept)}, widths)


def _working_copies(tensors: Mapping[str, Tensor], units: Sequence[Units]) -> dict[str, Tensor]:
    layers = {layer: None for unit in units for layer in (unit.layer, *(reads.layer for reads in unit.readers))}
    weights = {f"{layer}.weight": tensors[f"{layer}.weight"].clone() for layer in layers}
    biases = {name: tensors[name].double() for layer in layers if (name := f"{layer}.bias") in tensors}
    return {name: tensor.cpu() for name, tensor in (weights | biases).items()}


class _Layer:
    """A layer that loses units; what has gone is 0 in the working copies from then on."""

    def __init__(self, unit: Units, work: dict[str, Tensor]) -> None:
        self.name, self.readers, self.work = unit.layer, unit.readers, work
        self.weight = work[f"{unit.layer}.weight"]
        self.count = self.weight.shape[0]
        bias = work.get(f"{unit.layer}.bias")
        self.bias = torch.zeros(self.count, dtype=torch.float64) if bias is None else bias
        self.gone = torch.zeros(self.count, dtype=torch.bool)

    def _fed(self) -> Tensor:
        return (self.weight.flatten(1) != 0).any(1)

    def removable(self) -> Tensor:
        read, foldable = torch.zeros_like(self.gone), torch.ones_like(self.gone)
        for reads in self.readers:
            used = (reads.columns(self.work[f"{reads.layer}.weight"], self.count) != 0).any(2).any(0)
            read |= used
            if reads.padded or f"{reads.layer}.bias" not in self.work:
                foldable &= ~used | (reads.constant(self.bias) == 0)
        return ~self.gone & (~read | (~self._fed() & foldable))

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
        self.gone |= units

    def kept(self, width: int = 1) -> Tensor:
        """Indices of the units that stay, in their order, and of zeroed ones behind them up to ``width``."""
        alive, gone = (~self.gone).nonzero().flatten(), self.gone.nonzero().flatten()
        return torch.cat([alive, gone[: max(0, width - len(alive))]])


def _sliced(
    tensors: Mapping[str, Tensor], work: Mapping[str, Tensor], units: Sequence[Units], kept: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    sliced = dict(work)
    # From the last column on, so that the columns before keep their places.
    reading = [(reads, unit.layer) for unit in units for reads in unit.readers]
    for reads, layer in sorted(reading, key=lambda each: -each[0].start):
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
