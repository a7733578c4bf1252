"""Choose the units of a pool that survive: those whose weights have the highest mean score."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from lottery_core.pruning.criteria import LAYER, Criterion
from lottery_core.pruning.selection.shares import share_out
from lottery_core.pruning.units import Layout, Survivors, by_unit, check_reachable, drop_lowest
from lottery_core.tickets import SHARED, Masks, is_layer


def select_units(
    layout: Layout,
    old: Masks | None,
    survivors: int,
    criterion: Criterion,
    scores_of: Callable[[str], Tensor],
    networks: Mapping[str, str] | None = None,
) -> Masks:
    """Return masks of whole units that leave ``survivors`` parameters, to within one unit (of each network).

    A unit's score is the mean over its surviving weights, into it and out of it. Units are pruned one by one, those of
    the lowest scores first, while that brings the count nearer to what is asked for. Each layer keeps its last unit.

    :param layout: the units of the pool
    :param old: the present masks, which prune whole units; ``None`` if everything survives
    :param survivors: number of parameters to leave; if fewer are left, nothing is pruned
    :param criterion: how parameters are ranked, over all units or (the same share of units in each layer) within each
    :param scores_of: name of a tensor -> its scores, of its shape
    :param networks: tensor name -> its network, if each network keeps the same share; ``None`` for one pool
    :raises PruneError: whole units cannot leave as few
    """
    check_reachable(layout, survivors)
    alive = {layer: some.clone() for layer, some in layout.alive(old).items()}
    scores = unit_scores(layout, old, scores_of)
    if criterion.share == LAYER:
        scores = {layer: _shares(values, alive[layer]) for layer, values in scores.items()}
    count = Survivors(layout, alive)
    if networks is None:
        drop_lowest(alive, scores, count, layout.counts, None, count.total - survivors)
        return layout.masks(alive)
    names = {network: [name for name in layout.pool if networks[name] == network] for network in networks.values()}
    names = {network: own for network, own in names.items() if own}
    left = [count.of(own) for own in names.values()]
    few = Survivors(layout, {layer: torch.arange(units, device="cpu") < 1 for layer, units in layout.counts.items()})
    targets = dict(zip(names, share_out(left, survivors, [few.of(own) for own in names.values()]), strict=True))
    # What networks share comes first: its units free parameters of the networks that read them.
    for network in sorted(names, key=lambda name: name != SHARED):
        own = set(names[network])
        layers = [layer for layer, group in layout.groups.items() if group.parts[0].tensor in own]
        drop_lowest(alive, scores, count, layers, own, count.of(own) - targets[network])
    return layout.masks(alive)


def unit_scores(layout: Layout, masks: Masks | None, scores_of: Callable[[str], Tensor]) -> dict[str, Tensor]:
    """Return the mean score of each unit's surviving weights; biases and norms do not count, nor do dead units.

    :param layout: the units of the pool
    :param masks: the present masks; ``None`` if everything survives
    :param scores_of: name of a tensor -> its scores, of its shape
    :returns: layer -> mean scores in float64 (units)
    """
    sums = {layer: torch.zeros(count, dtype=torch.float64, device="cpu") for layer, count in layout.counts.items()}
    counts = {layer: torch.zeros(count, dtype=torch.float64, device="cpu") for layer, count in layout.counts.items()}
    for name, parts in layout.parts.items():
        shape = layout.pool[name]
        mask = torch.ones(shape, dtype=torch.bool, device="cpu") if masks is None else masks[name]
        if not is_layer(name, mask):
            continue
        values = scores_of(name).cpu().masked_fill(~mask, 0)
        for layer, part in parts:
            sums[layer] += by_unit(values, part, layout.counts[layer])
            counts[layer] += by_unit(mask, part, layout.counts[layer])
    return {layer: sums[layer] / counts[layer].clamp(min=1) for layer in sums}


def _shares(values: Tensor, alive: Tensor) -> Tensor:
    # The rank among the living units of the layer, as a share of them.
    order = values.masked_fill(~alive, torch.inf).argsort(stable=True)
    ranks = torch.empty_like(values)
    ranks[order] = torch.arange(len(values), dtype=values.dtype, device=values.device)
    return (ranks + 0.5) / int(alive.sum())
