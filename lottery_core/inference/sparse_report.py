"""The report of :func:`lottery_core.sparsify`, printed as a table."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class LayerReport:
    """The report on one layer.

    :param name: the layer's name in the model
    :param shape: shape of its first matrix, (outputs, inputs)
    :param pruned: fraction of its weights that are 0
    :param form: ``csr`` or ``dense``
    :param speed_up: dense time / sparse time; ``None`` if it was not measured
    :param bytes_before: memory of the dense layer
    :param bytes_after: memory of the layer in its present form
    :param why: reason that it is dense; ``None`` if it is sparse
    """

    name: str
    shape: tuple[int, ...]
    pruned: float
    form: str
    speed_up: float | None
    bytes_before: int
    bytes_after: int
    why: str | None


@dataclass(frozen=True)
class SparseReport:
    """The report on a model; ``print`` it.

    :param layers: every layer that was considered, in the model's order
    :param bytes_before: memory of the dense model's parameters and buffers; shared ones count once
    :param bytes_after: memory of the sparse model; a sparse output layer no longer shares the embedding's matrix
    """

    layers: tuple[LayerReport, ...]
    bytes_before: int
    bytes_after: int

    @property
    def sparse(self) -> int:
        """Number of sparse layers."""
        return sum(layer.form != "dense" for layer in self.layers)

    def summary(self) -> str:
        """Return the report in one line."""
        if not any(layer.pruned for layer in self.layers):
            return (
                "no layer is sparse: the model has no zeros in its weights (is this a trained ticket?); it is unchanged"
            )
        reasons: dict[str, int] = {}
        for layer in self.layers:
            if layer.why is not None:
                reasons[layer.why] = reasons.get(layer.why, 0) + 1
        dense = ", ".join(f"{count} {why}" for why, count in reasons.items())
        return (
            f"{self.sparse} of {len(self.layers)} layers are sparse"
            + (f" (dense: {dense})" if dense else "")
            + f"; weights {_size(self.bytes_before)} -> {_size(self.bytes_after)}"
        )

    def __str__(self) -> str:
        """Format a table and the summary; layers whose names differ only in their number share a row."""
        head = ("layer", "shape", "pruned", "form", "speed-up", "bytes before", "after", "why dense")
        groups: dict[tuple[object, ...], list[LayerReport]] = {}
        for layer in self.layers:
            pattern = re.sub(r"(^|\.)\d+(?=\.|$)", r"\1*", layer.name)
            groups.setdefault((pattern, layer.shape, layer.form, layer.why), []).append(layer)
        rows = [head, *(_row(str(key[0]), group) for key, group in groups.items())]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = []
        for row in rows:
            cells = [
                cell.ljust(width) if index in (0, 7) else cell.rjust(width)
                for index, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append("  ".join(cells).rstrip())
        return "\n".join([*lines, self.summary()])


def _row(pattern: str, group: list[LayerReport]) -> tuple[str, ...]:
    first = group[0]
    name = first.name if len(group) == 1 else f"{pattern} ({len(group)})"
    return (
        name,
        "x".join(map(str, first.shape)),
        _span((layer.pruned * 100 for layer in group), "{:.1f}%"),
        first.form,
        _span((layer.speed_up for layer in group if layer.speed_up is not None), "{:.1f}x"),
        _size(sum(layer.bytes_before for layer in group)),
        _size(sum(layer.bytes_after for layer in group)),
        first.why or "",
    )


def _span(values: Iterable[float], form: str) -> str:
    shown = [form.format(value) for value in sorted(values)]
    if not shown:
        return ""
    return shown[0] if shown[0] == shown[-1] else f"{shown[0]}-{shown[-1]}"


def _size(count: int) -> str:
    for unit, step in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= step:
            return f"{count / step:.1f} {unit}"
    return f"{count} B"
