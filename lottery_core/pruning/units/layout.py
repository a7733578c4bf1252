"""Where the units of a pool lie, masks that prune whole units, and how many parameters survive them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from lottery_core.dialects import Part, Shapes, UnitGroup
from lottery_core.tickets import Masks

Alive = Mapping[str, Tensor]  # layer -> which of its units are alive, bool (units)


class Layout:
    """The units of a pool, layer by layer; everything else in it is never pruned.

    A parameter belongs to the unit that it feeds and to the unit that it reads, and is dead if one of these is. So the
    survivors of a tensor are a block: some of its rows, and some of its columns.

    ``parts`` maps each tensor to what lies in it, with the layer whose units these are.

    :param pool: shapes of the pool's tensors by name
    :param groups: the units, with all their parts in the pool
    """

    def __init__(self, pool: Shapes, groups: Iterable[UnitGroup]) -> None:
        self.pool = {name: torch.Size(pool[name]) for name in sorted(pool)}
        self.groups = {group.layer: group for group in groups}
        self.parts: dict[str, list[tuple[str, Part]]] = {}
        for group in self.groups.values():
            for part in group.parts:
                self.parts.setdefault(part.tensor, []).append((group.layer, part))

    @property
    def counts(self) -> dict[str, int]:
        """Map each layer to its number of units."""
        return {layer: group.count for layer, group in self.groups.items()}

    @property
    def size(self) -> int:
        """The number of parameters in the pool."""
        return sum(map(math.prod, self.pool.values()))

    @property
    def least(self) -> int:
        """The number of parameters that survive if each layer keeps one unit."""
        one = {layer: torch.arange(count, device="cpu") < 1 for layer, count in self.counts.items()}
        return Survivors(self, one).total

    def alive(self, masks: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Return which units are alive.

        :param masks: masks of the pool; ``None``: all units are
        :returns: layer -> bool tensor (units)
        """
        if masks is None:
            return {layer: torch.ones(count, dtype=torch.bool, device="cpu") for layer, count in self.counts.items()}
        return {layer: self._some(masks, group).any(0) for layer, group in self.groups.items()}

    def _some(self, masks: Mapping[str, Tensor], group: UnitGroup) -> Tensor:
        return torch.stack([by_unit(masks[part.tensor], part, group.count) > 0 for part in group.parts])

    def masks(self, alive: Alive) -> Masks:
        """Return the masks that prune exactly the dead units.

        :param alive: layer -> bool tensor (units)
        """
        result = {}
        for name, shape in self.pool.items():
            mask = torch.ones(shape, dtype=torch.bool, device="cpu")
            for layer, part in self.parts.get(name, ()):
                dead = indices(part, (~alive[layer]).nonzero().flatten())
                mask.index_fill_(part.dim, dead, False)
            result[name] = mask
        return Masks(result)

    def are_whole(self, masks: Masks) -> bool:
        """Return whether masks of this pool prune whole units, and nothing else."""
        same = {name: mask.shape for name, mask in masks.items()} == self.pool
        return same and self.masks(self.alive(masks)) == masks

    def touched(self, layer: str) -> dict[str, dict[int, int]]:
        """Return what one unit of a layer takes: tensor -> dimension -> number of indices."""
        result: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
        for part in self.groups[layer].parts:
            result[part.tensor][part.dim] += part.block
        return result


class Survivors:
    """Counts the surviving parameters of a pool while units die one by one.

    :param layout: the units
    :param alive: layer -> which units are alive
    """

    def __init__(self, layout: Layout, alive: Alive) -> None:
        self.units = {layer: int(some.sum()) for layer, some in alive.items()}
        self._touched = {layer: layout.touched(layer) for layer in layout.groups}
        self._sizes: dict[str, list[int]] = {name: list(shape) for name, shape in layout.pool.items()}
        for layer, dead in ((layer, int((~some).sum())) for layer, some in alive.items()):
            self._take(layer, dead)
        self.total = sum(map(math.prod, self._sizes.values()))

    def _take(self, layer: str, units: int) -> None:
        for name, dims in self._touched[layer].items():
            for dim, indices_ in dims.items():
                self._sizes[name][dim] -= units * indices_

    def of(self, names: Iterable[str]) -> int:
        """Return the number of surviving parameters of some tensors."""
        return sum(math.prod(self._sizes[name]) for name in names)

    def freed(self, layer: str, names: Collection[str] | None = None) -> int:
        """Return how many parameters die with one more unit.

        :param layer: the unit's layer; all its units count alike
        :param names: tensors to count in; ``None`` for all
        """
        count = 0
        for name, dims in self._touched[layer].items():
            if names is None or name in names:
                sizes = self._sizes[name]
                count += math.prod(sizes) - math.prod(size - dims.get(dim, 0) for dim, size in enumerate(sizes))
        return count

    def remove(self, layer: str) -> None:
        """Count one unit of a layer as dead."""
        self.total -= self.freed(layer)
        self._take(layer, 1)
        self.units[layer] -= 1


def indices(part: Part, units: Tensor) -> Tensor:
    """Return the indices of units along the part's dimension, in order.

    :param part: where the units lie
    :param units: numbers of the units
    """
    return (units[:, None] * part.block + torch.arange(part.block, device="cpu") + part.start).flatten()


def by_unit(values: Tensor, part: Part, count: int) -> Tensor:
    """Sum the values of a tensor over each unit, in float64.

    :param values: the tensor
    :param part: where the units lie in it
    :param count: number of units
    :returns: (units)
    """
    own = values.narrow(part.dim, part.start, count * part.block).movedim(part.dim, 0)
    return own.reshape(count, -1).double().sum(1)


def restricted(groups: Sequence[UnitGroup], shapes: Shapes, pool: Iterable[str]) -> list[UnitGroup]:
    """Return the units that can be pruned in a pool, without the parts that lie outside it.

    A unit can be pruned if all weights that compute it are in the pool; its bias, and what reads it, need not be.

    :param groups: the units of the network
    :param shapes: shapes of all tensors by name
    :param pool: names in the pool
    """
    names, result = set(pool), []
    for group in groups:
        own = {part.tensor for part in group.parts if part.own}
        if names.issuperset(name for name in own if len(shapes[name]) > 1 and ".bias" not in name):
            parts = tuple(part for part in group.parts if part.tensor in names)
            result.append(UnitGroup(group.layer, group.count, parts))
    return result
