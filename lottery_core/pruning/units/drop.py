"""Drop units one by one until as many parameters survive as asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor

from lottery_core.pruning.units.layout import Survivors


def drop_lowest(
    alive: Mapping[str, Tensor],
    scores: Mapping[str, Tensor],
    count: Survivors,
    layers: Iterable[str],
    names: Collection[str] | None,
    surplus: int,
) -> None:
    """Drop the units of the lowest scores, in place, while that brings the number of survivors nearer to the target.

    Each layer keeps its last unit. Of equal scores, the unit of the earlier layer goes first.

    :param alive: layer -> which of its units are alive, bool (units); changed
    :param scores: layer -> scores (units)
    :param count: counts the survivors; changed
    :param layers: layers that may lose units
    :param names: tensors whose survivors count; ``None`` for the whole pool
    :param surplus: number of parameters to drop
    """
    layers = list(layers)
    units = [(layer, unit) for layer in layers for unit in alive[layer].nonzero().flatten().tolist()]
    if not units:
        return
    order = torch.cat([scores[layer][alive[layer]] for layer in layers]).argsort(stable=True)
    for layer, unit in (units[index] for index in order.tolist()):
        if count.units[layer] == 1:
            continue
        freed = count.freed(layer, names)
        if abs(surplus - freed) > abs(surplus):
            return
        count.remove(layer)
        alive[layer][unit] = False
        surplus -= freed
