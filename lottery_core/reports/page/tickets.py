"""The masks of an experiment's tickets, as packed bits; as many as fit are kept in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy

from lottery_core.errors import TicketError
from lottery_core.experiments import Row, Run, paths
from lottery_core.pruning import DENSE
from lottery_core.reports import measured
from lottery_core.tickets import Masks, read_masks

_MOST_BYTES = 1 << 29
_BITS = numpy.array([bin(byte).count("1") for byte in range(256)], dtype=numpy.uint8)


class PackedMasks:
    """Masks as packed bits.

    :param masks: the masks
    """

    def __init__(self, masks: Masks) -> None:
        self.shapes = {name: tuple(mask.shape) for name, mask in masks.items()}
        self.sizes = {name: mask.numel() for name, mask in masks.items()}
        self.survivors = masks.survivors()
        self.bits = numpy.concatenate([numpy.packbits(mask.reshape(-1).numpy()) for mask in masks.values()])

    @property
    def surviving(self) -> int:
        """The number of survivors."""
        return sum(self.survivors.values())

    def overlap(self, other: PackedMasks) -> float:
        """Return the Jaccard index: surviving in both over surviving in either; 1 for two empty masks."""
        both = int(_BITS[self.bits & other.bits].sum(dtype=numpy.int64))
        either = self.surviving + other.surviving - both
        return both / either if either else 1.0

    def chance(self, other: PackedMasks) -> float:
        """Return the Jaccard index expected by chance, if each tensor kept as many elements at random positions.

        It is computed from the expected numbers; with more than a few survivors it is close to the expected index.
        """
        both = sum(self.survivors[name] * other.survivors[name] / size for name, size in self.sizes.items() if size)
        either = self.surviving + other.surviving - both
        return both / either if either else 1.0


class Tickets:
    """The tickets of an experiment's finished runs.

    :param folder: the experiment's folder; ``None`` if there is none
    :param rows: its rows
    """

    def __init__(self, folder: Path | None, rows: Sequence[Row]) -> None:
        self.folder = folder
        self.runs: list[Run] = []
        self.damaged: list[str] = []
        self.known: frozenset[Run] = frozenset()
        self.layers: dict[Run, dict[str, tuple[int, int]]] = {}  # survivors and size of each tensor
        self.inputs: dict[Run, dict[str, tuple[int, int]]] = {}  # of input features, once they were counted
        self._compared: dict[tuple[Run, Run], tuple[float, float]] = {}
        self._kept: OrderedDict[Run, PackedMasks] = OrderedDict()
        self._bytes = 0
        seen: dict[str, tuple[int, ...]] | None = None
        tickets = (row.run for row in measured(rows) if row.kind != DENSE and row.round and not row.run.repeats)
        for run in dict.fromkeys(tickets):
            masks = self._load(run)
            if masks is None:
                continue
            seen = seen or masks.shapes
            if masks.shapes == seen:
                self.runs.append(run)
                self.layers[run] = {name: (masks.survivors[name], size) for name, size in masks.sizes.items() if size}
            else:
                self.damaged.append(f"{run}: its ticket is of another pool, and left out")
        self.known = frozenset(self.runs)

    def path(self, run: Run) -> Path:
        """Return the path of a run's ticket file."""
        assert self.folder is not None
        return self.folder / run.folder / paths.TICKET

    def __getitem__(self, run: Run) -> PackedMasks:
        masks = self._load(run)
        if masks is None:
            raise TicketError(f"the ticket of {run} can no longer be read")
        return masks

    def compare(self, one: Run, other: Run) -> tuple[float, float]:
        """Return the Jaccard index of two masks and the one expected by chance; they are computed once.

        Whoever compares many goes through them in an order in which few masks are needed at a time.
        """
        found = self._compared.get((one, other))
        if found is None:
            first, second = self[one], self[other]
            found = self._compared[one, other] = first.overlap(second), first.chance(second)
        return found

    def _load(self, run: Run) -> PackedMasks | None:
        if run in self._kept:
            self._kept.move_to_end(run)
            return self._kept[run]
        if self.folder is None:
            return None
        try:
            masks = PackedMasks(read_masks(self.path(run)))
        except TicketError as error:
            self.damaged.append(f"{run}: {error}")
            return None
        self._kept[run] = masks
        self._bytes += masks.bits.nbytes
        while self._bytes > _MOST_BYTES and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].bits.nbytes
        return masks

    def kinds(self) -> list[str]:
        """Return the kinds that have a ticket, in the order of the rows."""
        return list(dict.fromkeys(run.kind for run in self.runs))

    def rounds(self) -> list[int]:
        """Return the rounds that have a ticket."""
        return sorted({run.round for run in self.runs})

    def seeds(self) -> list[int]:
        """Return the seeds that have a ticket."""
        return sorted({run.seed for run in self.runs})
