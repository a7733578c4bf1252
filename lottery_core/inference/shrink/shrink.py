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
from dataclasses import dataclass, field
from functools import reduce

import torch
from torch import Tensor

from lottery_core.files import counted
from lottery_core.inference.shrink.layer import Layer, LstmLayer
from lottery_core.inference.shrink.network import Units


@dataclass(frozen=True)
class Report:
    """The report of :func:`shrink`.

    :param units: layer -> number of units before and after
    :param parameters: number of parameters of the whole network before and after
    :param note: what else is to be said, at the end of the line
    :param zeros: layer -> number of dead units that stay, since other layers of the same width need theirs
    """

    units: Mapping[str, tuple[int, int]]
    parameters: tuple[int, int]
    note: str = ""
    zeros: Mapping[str, int] = field(default_factory=dict)

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
        if not self and self.zeros:
            layers = ", ".join([*self.zeros][:4]) + (", ..." if len(self.zeros) > 4 else "")
            return (
                f"{counted(sum(self.zeros.values()), 'dead unit')} kept as zeros, since layers that have one width "
                f"need theirs ({layers}): nothing to remove ({before:,} parameters)"
            )
        if not self:
            return f"no unit is dead: nothing to remove ({before:,} parameters)"
        total = sum(count for count, _ in self.units.values())
        counts = f"{before:,} -> {after:,} ({after / before:.1%})"
        return f"removed {self.removed:,} of {total:,} units; parameters {counts}{self.note}"

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
    :param zeros: layer -> number of dead units that stay; layers without any are left out
    """

    tensors: dict[str, Tensor]
    widths: dict[str, tuple[int, int]]
    zeros: dict[str, int]

    def report(self, before: Mapping[str, Tensor], without: Callable[[str], bool] = lambda name: False) -> Report:
        """Report what was removed.

        :param before: the tensors before shrinking
        :param without: whether a tensor, by its name, is left out of the counts, e.g. those of target networks
        """
        counts = [
            sum(t.numel() for name, t in tensors.items() if not without(name)) for tensors in (before, self.tensors)
        ]
        widths = {layer: width for layer, width in self.widths.items() if not without(f"{layer}.weight")}
        zeros = {layer: count for layer, count in self.zeros.items() if layer in widths}
        return Report(widths, (counts[0], counts[1]), zeros=zeros)


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
    shrinking = {unit.layer: (LstmLayer if unit.recurrent else Layer)(unit, work) for unit in units}
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
    needed = {name: len(indices) for name, indices in kept.items()}
    for names in level:
        present = [name for name in names if name in kept]
        widest = max((len(kept[name]) for name in present), default=0)
        kept |= {name: shrinking[name].kept(widest) for name in present}
    widths = {name: (layer.count, len(kept[name])) for name, layer in shrinking.items()}
    zeros = {name: more for name, count in needed.items() if (more := len(kept[name]) - count)}
    return Shrunk({**tensors, **_sliced(tensors, work, units, kept)}, widths, zeros)


def _working_copies(tensors: Mapping[str, Tensor], units: Sequence[Units]) -> dict[str, Tensor]:
    names = {name: None for unit in units for name in unit.rows if name in tensors}
    readers = [reads for unit in units for reads in unit.readers]
    names |= {name: None for reads in readers for name in (reads.weight, reads.bias) if name in tensors}
    copies = {name: tensors[name].clone() if tensors[name].dim() > 1 else tensors[name].double() for name in names}
    return {name: tensor.cpu() for name, tensor in copies.items()}


def _sliced(
    tensors: Mapping[str, Tensor], work: Mapping[str, Tensor], units: Sequence[Units], kept: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    sliced = dict(work)
    # From the last column to the first, so that earlier columns keep their positions.
    reading = [(reads, unit) for unit in units for reads in unit.readers]
    for reads, unit in sorted(reading, key=lambda pair: -pair[0].start):
        name, count = reads.weight, work[next(unit.rows)].shape[0] // unit.gates
        columns = torch.arange(sliced[name].shape[1])
        end = reads.start + count * reads.block
        columns = torch.cat([columns[: reads.start], reads.indices(kept[unit.layer]), columns[end:]])
        sliced[name] = sliced[name].index_select(1, columns)
    for unit in units:
        if unit.columns:
            sliced[unit.columns] = sliced[unit.columns].index_select(1, kept[unit.layer])
        for name in filter(sliced.__contains__, unit.rows):
            starts = torch.arange(unit.gates)[:, None] * (sliced[name].shape[0] // unit.gates)
            sliced[name] = sliced[name].index_select(0, (starts + kept[unit.layer]).flatten())
    return {name: tensor.to(tensors[name]).contiguous() for name, tensor in sliced.items()}
