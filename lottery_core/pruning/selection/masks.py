"""Masks that leave the parameters with the highest scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lottery_core.errors import MaskError, PruneError
from lottery_core.pruning.criteria import MAGNITUDE, Criterion
from lottery_core.pruning.selection.checks import check_types, too_few
from lottery_core.pruning.selection.pool import Candidate, Pool, smallest, survivors_above, tied, without
from lottery_core.pruning.selection.rounding import rounded_to, spread
from lottery_core.pruning.selection.shares import groups, share_out
from lottery_core.pruning.selection.whole_units import select_units
from lottery_core.pruning.units import Layout
from lottery_core.tickets import (
    Masks,
    highest_of_each_slice,
    normalised_weights,
)


def prune_masks(
    weights: Mapping[str, Tensor],
    masks: Masks | Iterable[str],
    survivors: int,
    criterion: Criterion = MAGNITUDE,
    rewind: Mapping[str, Tensor] | None = None,
    networks: Mapping[str, str] | None = None,
    layout: Layout | None = None,
    spread_ties: bool = False,
) -> Masks:
    """Return masks that leave exactly ``survivors`` parameters, those with the highest scores.

    Among equal scores, those earlier in the pool are pruned first. Weights that are divided by the norm of a slice
    (``weight_norm``, ``spectral_norm``) keep a survivor in each slice; the next smallest parameters are pruned instead.
    With an elementwise criterion this takes about one byte per parameter in addition to the given masks.

    :param weights: trained weights by name, at least those of the pool
    :param masks: the present masks, or the names of the tensors in a pool in which everything survives
    :param survivors: number of parameters to leave, at least 1
    :param criterion: ranks the parameters: a value of :data:`lottery_core.CRITERIA`, not its name; the paper's global
        magnitude by default
    :param rewind: weights at the rewind point by name, for criteria that use them
    :param networks: tensor name -> its network, if each network keeps the same share; ``None`` for one pool
    :param layout: the units of the pool, if they are pruned whole; then the count is met to within one unit
    :param spread_ties: spread those that are pruned of equal scores over the pool if the weights are rounded to fp16 or
        bf16, where thousands are equal, as :func:`prune` does
    :raises MaskError: a tensor of the pool is missing or has another shape than its mask
    :raises PruneError: a weight or score is NaN or infinite, ``survivors`` is too small or larger than what is left, or
        the criterion needs ``rewind``
    """
    old = masks if isinstance(masks, Masks) else None
    names = list(old) if old is not None else sorted(masks)
    for name in names:
        if name not in weights or (old is not None and weights[name].shape != old[name].shape):
            raise MaskError(f"the trained weights have no '{name}' of the mask's shape")
    if criterion.uses_rewind and rewind is None:
        raise PruneError(f"the criterion {criterion.name} needs the weights at the rewind point")
    ties = [0, 0] if spread_ties and rounded_to(weights[name] for name in names) is not None else None
    return select(weights, names, old, survivors, criterion, rewind, networks, ties, layout)[0]


def select(
    weights: Mapping[str, Tensor],
    names: Sequence[str],
    old: Masks | None,
    survivors: int,
    criterion: Criterion,
    rewind: Mapping[str, Tensor] | None,
    networks: Mapping[str, str] | None = None,
    ties: list[int] | None = None,
    layout: Layout | None = None,
) -> tuple[Masks, dict[str, int]]:
    # Returns the masks, and for each tensor the number of parameters that survive only because a slice of a normalised
    # weight needs one. With networks (tensor name -> its network), each network keeps the same share. With ties, equal
    # scores are pruned spread over the pool; adds how many there are, and how many of them are pruned. With a layout,
    # whole units are pruned.
    check_types(weights, names)
    candidates = [
        Candidate(name, weights[name], None if old is None else old[name], None if rewind is None else rewind[name])
        for name in names
    ]
    whole = Pool(candidates, criterion)
    if layout is not None and 1 <= survivors <= layout.size:
        whole.check_finite()
        return select_units(layout, old, survivors, criterion, whole.scores_of, networks), {}
    if not 1 <= survivors <= whole.left:
        raise PruneError(
            f"cannot keep {survivors} parameters: the number must lie between 1 and the {whole.left} that are left"
        )
    if survivors == whole.left:
        whole.check_finite()
        return old if old is not None else Masks.ones({name: weights[name] for name in names}), {}
    needed = _needed(weights, candidates, criterion)
    count = sum(int(mask.sum()) for mask in needed.values())
    if survivors < count:
        raise too_few(survivors, count)
    free = [replace(each, mask=_free(each, needed.get(each.name))) for each in candidates] if needed else candidates
    grouped = groups(names, criterion, networks)
    least = [sum(int(needed[names[index]].sum()) for index in group if names[index] in needed) for group in grouped]
    one = len(grouped) == 1
    left = [whole.left if one else Pool([candidates[index] for index in group], criterion).left for group in grouped]
    counts = share_out(left, survivors, least)
    parts = [
        _keep(Pool([free[index] for index in group], criterion), kept - own, ties)
        for group, kept, own in zip(grouped, counts, least, strict=True)
    ]
    flat: dict[str, Tensor] = {}
    spared: dict[str, int] = {}
    for part, threshold in parts:
        for name, mask in part.items():
            flat[name] = mask
            if name in needed:
                flat[name] = mask | needed[name].reshape(-1)
                scores = Pool([each for each in candidates if each.name == name], criterion).scores_of(name)
                below = int((scores.reshape(-1)[needed[name].reshape(-1)] < threshold).sum())
                spared |= {name: below} if below else {}
    return Masks({name: mask.reshape(weights[name].shape) for name, mask in flat.items()}), spared


def _needed(weights: Mapping[str, Tensor], candidates: Sequence[Candidate], criterion: Criterion) -> dict[str, Tensor]:
    # For weights that are divided by the norm of each slice: masks of the highest score in each slice.
    slices = normalised_weights({name: tensor.shape for name, tensor in weights.items()})
    needed = {}
    for each in candidates:
        if each.name in slices:
            scores = Pool([each], criterion).scores_of(each.name).cpu()
            if each.mask is not None:
                scores = scores.masked_fill(~each.mask, -torch.inf)
            needed[each.name] = highest_of_each_slice(scores, slices[each.name])
    return needed


def _free(each: Candidate, needed: Tensor | None) -> Tensor | None:
    if needed is None:
        return each.mask
    return ~needed if each.mask is None else each.mask & ~needed


def _keep(pool: Pool, survivors: int, ties: list[int] | None) -> tuple[dict[str, Tensor], float]:
    # Returns the flat masks, and the highest score that is pruned.
    remove = pool.left - survivors
    if not survivors or not remove:
        pool.check_finite()
        if survivors:
            return survivors_above(pool, -float("inf"), ties=0), -float("inf")
        nothing = {name: torch.zeros(size, dtype=torch.bool, device="cpu") for name, size in pool.sizes().items()}
        return nothing, float("inf")
    threshold, below = smallest(pool, remove)
    if ties is None:
        return survivors_above(pool, threshold, ties=remove - below), threshold
    masks, equal = survivors_above(pool, threshold, ties=0), tied(pool, threshold)
    without(masks, spread(equal, remove - below))
    if equal.numel() > remove - below:
        ties[:] = [ties[0] + equal.numel(), ties[1] + remove - below]
    return masks, threshold
