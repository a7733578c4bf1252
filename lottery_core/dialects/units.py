"""Whole units of a network: which numbers of which tensors belong to one unit, found along the way that data takes."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Shapes = Mapping[str, Sequence[int]]
_SCALES = ("weight", "scale")  # of norms
GATES = 4  # of an LSTM: input, forget, cell, output, see torch.nn.LSTM


@dataclass(frozen=True)
class Part:
    """Where the units of a layer lie in one tensor: unit i has ``block`` indices from ``start + i * block`` on.

    :param tensor: the tensor's name
    :param dim: the dimension along which the units lie
    :param start: index of the first unit
    :param block: indices of one unit: 1, those of a head, or the positions of a flattened channel
    :param own: whether these numbers compute the unit (weights into it, its bias); otherwise they read it
    """

    tensor: str
    dim: int
    start: int = 0
    block: int = 1
    own: bool = False


@dataclass(frozen=True)
class UnitGroup:
    """The units of one layer; all parts of a unit are pruned together, or none.

    :param layer: name of the layer, or of the attention whose heads these are
    :param count: number of units
    :param parts: everything that belongs to the units
    """

    layer: str
    count: int
    parts: tuple[Part, ...]


class UnitFinder:
    """Collects the units of a network; call its methods in the order in which data passes the layers.

    A signal is the name of the layer whose units it carries, or ``None`` if its numbers cannot be removed. Units that
    no known layer reads, and those that :meth:`keep` names, are not among the groups.

    :param shapes: shapes of all tensors by name
    """

    def __init__(self, shapes: Shapes) -> None:
        self.shapes = shapes
        self._counts: dict[str, int] = {}
        self._own: dict[str, list[Part]] = defaultdict(list)
        self._reads: dict[str, list[Part]] = defaultdict(list)
        self._kept: set[str] = set()

    def groups(self) -> list[UnitGroup]:
        """Return the units that may be removed, layer by layer."""
        return [
            UnitGroup(layer, count, (*self._own[layer], *self._reads[layer]))
            for layer, count in self._counts.items()
            if layer not in self._kept and self._reads[layer]
        ]

    def keep(self, signal: str | None) -> None:
        """Keep the units of a signal, because something else reads them."""
        if signal is not None:
            self._kept.add(signal)

    def layer(self, name: str, signal: str | None) -> str | None:
        """Pass a linear or convolutional layer.

        :param name: its name; its tensors are ``NAME.weight`` (units, inputs, ...) and optionally ``NAME.bias``
        :param signal: what it reads
        :returns: its own units; ``None`` if there is no such layer
        """
        weight = f"{name}.weight"
        if len(self.shapes.get(weight, ())) < 2:
            self.keep(signal)
            return None
        self.read(weight, signal)
        self._counts[name] = self.shapes[weight][0]
        self._own[name] = [Part(tensor, 0, own=True) for tensor in (weight, f"{name}.bias") if tensor in self.shapes]
        return name

    def read(self, weight: str, signal: str | None) -> None:
        """Note that the first columns of a weight read a signal.

        :param weight: name of the weight, (outputs, inputs, ...)
        :param signal: what it reads
        """
        if signal is None:
            return
        columns, units, block = self.shapes[weight][1], self._counts[signal], 1
        flattened = len(self.shapes[weight]) == 2 and len(self.shapes.get(f"{signal}.weight", ())) > 2
        if flattened:  # each channel is a block of columns
            block = columns // units
        if not block or units * block > columns or (flattened and columns % units):
            self.keep(signal)
        else:
            self._reads[signal].append(Part(weight, 1, 0, block))

    def norm(self, name: str, signal: str | None) -> None:
        """Pass a norm over the units of a signal; its scale and bias are the units' own."""
        if signal is not None:
            tensors = [tensor for word in (*_SCALES, "bias") if (tensor := f"{name}.{word}") in self.shapes]
            if any(tuple(self.shapes[tensor]) != (self._counts[signal],) for tensor in tensors):
                self.keep(signal)
            self._own[signal] += [Part(tensor, 0, own=True) for tensor in tensors]

    def stack(self, prefix: str, signal: str | None) -> str | None:
        """Pass numbered layers, ``PREFIX.0``, ``PREFIX.2``; those with a vector as weight are norms.

        :param prefix: name of the stack
        :param signal: what its first layer reads
        :returns: the units of its last layer; the signal itself if there are no layers
        """
        pattern = re.compile(rf"{re.escape(prefix)}\.(\d+)\.")
        numbers = sorted({int(match[1]) for match in map(pattern.match, self.shapes) if match is not None})
        for name in (f"{prefix}.{number}" for number in numbers):
            if any(len(self.shapes.get(f"{name}.{word}", ())) == 1 for word in _SCALES):
                self.norm(name, signal)
            else:
                signal = self.layer(name, signal)
        return signal

    def lstm(self, name: str, signal: str | None) -> str | None:
        """Pass a ``torch.nn.LSTM`` in one direction, without projections.

        :param name: its name
        :param signal: what its first layer reads
        :returns: the units of its last layer, whose group has the name ``NAME.N``
        """
        number = 0
        while f"{name}.weight_ih_l{number}" in self.shapes:
            tensors = {word: f"{name}.{word}_l{number}" for word in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
            self.read(tensors["weight_ih"], signal)
            signal = f"{name}.{number}"
            self._counts[signal] = units = self.shapes[tensors["weight_ih"]][0] // GATES
            rows = [tensor for tensor in tensors.values() if tensor in self.shapes]
            self._own[signal] = [Part(row, 0, gate * units, own=True) for row in rows for gate in range(GATES)]
            self._own[signal].append(Part(tensors["weight_hh"], 1, own=True))
            number += 1
        others = ("_reverse", "_hr_l0")  # the other direction, projections
        if any(tensor.startswith(f"{name}.weight_") and tensor.endswith(others) for tensor in self.shapes):
            self._kept |= {layer for layer in self._counts if layer.startswith(f"{name}.")}
        return signal

    def attention(self, name: str, heads: int) -> None:
        """Add the heads of an attention with projections of its own for queries, keys, values and outputs.

        :param name: its name; its layers are ``NAME.q_proj`` and so on
        :param heads: number of heads, which divides the rows of the projections
        """
        rows = self.shapes[f"{name}.q_proj.weight"][0]
        inputs = [f"{name}.{word}_proj.{kind}" for word in "qkv" for kind in ("weight", "bias")]
        parts = [Part(tensor, 0, 0, rows // heads, own=True) for tensor in inputs if tensor in self.shapes]
        added = [tensor for word in "kv" if (tensor := f"{name}.bias_{word}") in self.shapes]
        parts += [Part(tensor, 2, 0, rows // heads, own=True) for tensor in added]
        self._counts[name], self._own[name] = heads, parts
        self._reads[name] = [Part(f"{name}.out_proj.weight", 1, 0, rows // heads)]
