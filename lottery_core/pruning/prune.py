"""One round of pruning, and the schedule of counts (arXiv 1906.02768, section 3.1)."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lottery_core.errors import MaskError, PruneError
from lottery_core.pruning.checks import check_start, check_types
from lottery_core.pruning.criteria import MAGNITUDE, Criterion, criterion_named
from lottery_core.pruning.selection import Candidate, Pool, smallest, survivors_above
from lottery_core.pruning.shares import check_scope_shares, groups, share_out
from lottery_core.pruning.zeros import forgotten_masks
from lottery_core.tickets import (
    ALL,
    SEPARATE,
    TOGETHER,
    Masks,
    Origin,
    Ticket,
    Weights,
    as_scope,
    highest_of_each_slice,
    network_of_each,
    normalised_weights,
)


def check_rate(rate: float, name: str = "prune rate") -> float:
    """Check a rate and return it unchanged.

    :raises PruneError: ``rate`` is not strictly between 0 and 1
    """
    if not 0 < rate < 1:
        raise PruneError(f"the {name} must lie strictly between 0 and 1, not {rate:g}")
    return rate


def schedule(pool: int, rate: float, rounds: int) -> list[int]:
    """Return the number of survivors after 0, 1, ... ``rounds`` rounds; each round prunes ``round(rate x left)``.

    :param pool: number of parameters in the pool
    :param rate: share of the remaining parameters that each round prunes, in (0, 1)
    :param rounds: number of rounds
    :returns: ``rounds + 1`` counts, the first of which is ``pool``
    :raises PruneError: the rate is outside (0, 1)
    """
    check_rate(rate)
    left = [pool]
    for _ in range(rounds):
        left.append(left[-1] - round(rate * left[-1]))
    return left


def prune_masks(
    weights: Mapping[str, Tensor],
    masks: Masks | Iterable[str],
    survivors: int,
    criterion: Criterion = MAGNITUDE,
    rewind: Mapping[str, Tensor] | None = None,
) -> Masks:
    """Return masks that leave exactly ``survivors`` parameters, those with the highest scores.

    Among equal scores, those earlier in the pool are pruned first. Weights that are divided by the norm of a slice
    (``weight_norm``, ``spectral_norm``) keep a survivor in each slice; the next smallest parameters are pruned instead.
    With an elementwise criterion this takes about one byte per parameter in addition to the given masks.

    :param weights: trained weights by name, at least those of the pool
    :param masks: the present masks, or the names of the tensors in a pool in which everything survives
    :param survivors: number of parameters to leave, at least 1
    :param criterion: ranks the parameters; the paper's global magnitude by default
    :param rewind: weights at the rewind point by name, for criteria that use them
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
    return _select(weights, names, old, survivors, criterion, rewind)[0]


def _select(
    weights: Mapping[str, Tensor],
    names: Sequence[str],
    old: Masks | None,
    survivors: int,
    criterion: Criterion,
    rewind: Mapping[str, Tensor] | None,
    networks: Mapping[str, str] | None = None,
) -> tuple[Masks, dict[str, int]]:
    # Returns the masks, and for each tensor the number of parameters that survive only because a slice of a normalised
    # weight needs one. With networks (tensor name -> its network), each network keeps the same share.
    check_types(weights, names)
    candidates = [
        Candidate(name, weights[name], None if old is None else old[name], None if rewind is None else rewind[name])
        for name in names
    ]
    whole = Pool(candidates, criterion)
    if not 1 <= survivors <= whole.left:
        raise PruneError(f"cannot leave {survivors} parameters: {whole.left} are left, and at least 1 must survive")
    if survivors == whole.left:
        whole.check_finite()
        return old if old is not None else Masks.ones({name: weights[name] for name in names}), {}
    needed = _needed(weights, candidates, criterion)
    count = sum(int(mask.sum()) for mask in needed.values())
    if survivors < count:
        raise PruneError(
            f"cannot leave {survivors} parameters: normalised weights (weight_norm, spectral_norm) need {count}, one "
            "in each slice"
        )
    free = [replace(each, mask=_free(each, needed.get(each.name))) for each in candidates] if needed else candidates
    grouped = groups(names, criterion, networks)
    least = [sum(int(needed[names[index]].sum()) for index in group if names[index] in needed) for group in grouped]
    one = len(grouped) == 1
    left = [whole.left if one else Pool([candidates[index] for index in group], criterion).left for group in grouped]
    counts = share_out(left, survivors, least)
    parts = [
        _keep(Pool([free[index] for index in group], criterion), kept - own)
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


def _keep(pool: Pool, survivors: int) -> tuple[dict[str, Tensor], float]:
    # Returns the flat masks, and the highest score that is pruned.
    remove = pool.left - survivors
    if not survivors or not remove:
        pool.check_finite()
        if survivors:
            return survivors_above(pool, -float("inf"), ties=0), -float("inf")
        return {name: torch.zeros(size, dtype=torch.bool) for name, size in pool.sizes().items()}, float("inf")
    threshold, below = smallest(pool, remove)
    return survivors_above(pool, threshold, ties=remove - below), threshold


def prune(
    trained: Weights,
    rewind: Weights,
    *,
    rate: float | None = None,
    fraction: float | None = None,
    survivors: int | None = None,
    previous: Ticket | None = None,
    scope: str | Sequence[str] = ALL,
    kind: str | None = None,
    rewind_point: str = "unknown",
    seed: int | None = None,
    criterion: str | None = None,
    scope_shares: str | None = None,
) -> Ticket:
    """Find the next winning ticket: prune the trained weights and reset the survivors to the rewind point.

    Give one of ``rate``, ``fraction`` and ``survivors``. Warns (``UserWarning``) if the weights seem to be those of a
    trained ticket that is not given as ``previous``.

    :param trained: weights at the end of training (of the ``previous`` ticket, if there is one)
    :param rewind: weights at the rewind point, of the same architecture
    :param rate: share of the *remaining* parameters to prune, in (0, 1) (iterative pruning)
    :param fraction: share of the *whole* pool to be pruned afterwards, in (0, 1) (one-shot pruning)
    :param survivors: number of parameters that survive
    :param previous: the ticket of the previous round, whose masks are pruned further and whose scope is kept
    :param scope: which parameters are in the pool, see :func:`lottery_core.pool_names`
    :param kind: kind written into the ticket; by default as in ``previous``, else ``"winning"``
    :param rewind_point: rewind point written into the ticket, e.g. ``"episodes:160"``
    :param seed: seed written into the ticket
    :param criterion: how parameters are ranked, one of :data:`lottery_core.CRITERIA`; by default as in ``previous``,
        else ``"magnitude"``
    :param scope_shares: ``"together"``: all networks are one pool; ``"separate"``: each (actor, critic; encoder,
        decoder; what they share) is pruned at the same rate; by default as in ``previous``, else ``"together"``
    :raises PruneError: a weight is NaN or infinite, a rate is outside (0, 1), or nothing is left to prune
    :raises MismatchError: ``trained``, ``rewind`` and ``previous`` do not share one architecture
    :raises ScopeError: the scope selects nothing
    :raises ConfigError: the criterion is unknown, or shares are separate and the model's networks are not known
    """
    if sum(value is not None for value in (rate, fraction, survivors)) != 1:
        raise PruneError("give exactly one of rate, fraction and survivors")
    trained = trained.like(rewind)
    rewind = rewind.like(trained)
    rewind.require_same_shapes(trained)
    if criterion is None:
        criterion = MAGNITUDE.name if previous is None else previous.origin.criterion
    ranking = criterion_named(criterion)
    if previous is not None:
        previous = previous.named_as(trained.tensors)
        previous.require_fit({name: tensor.shape for name, tensor in trained.tensors.items()}, trained.source)
        masks: Masks | list[str] = previous.masks
        pool, left = previous.masks.pool, previous.masks.surviving
        scope = previous.origin.scope
    else:
        masks = trained.pool(scope)
        pool = left = sum(trained.tensors[name].numel() for name in masks)
    check_start(trained, rewind, masks)
    for line in forgotten_masks(trained, rewind) if previous is None else ():
        warnings.warn(line, stacklevel=2)
    if scope_shares is None:
        scope_shares = TOGETHER if previous is None else previous.origin.scope_shares
    check_scope_shares(scope_shares, masks, trained.tensors)
    if rate is not None:
        survivors = schedule(left, rate, 1)[1]
    elif fraction is not None:
        survivors = pool - round(check_rate(fraction, "pruned fraction") * pool)
        if survivors > left:
            raise PruneError(f"{1 - left / pool:.1%} of the pool is pruned already, more than {fraction:.1%}")
    assert survivors is not None
    origin = Origin(
        kind=kind or (Origin.kind if previous is None else previous.origin.kind),
        round=1 if previous is None else previous.origin.round + 1,
        scope=as_scope(scope),
        prune_rate=rate,
        rewind=rewind_point,
        seed=seed,
        parent=None if previous is None else previous.digest,
        criterion=criterion,
        scope_shares=scope_shares,
    )
    start = rewind.tensors if ranking.uses_rewind else None
    old = masks if isinstance(masks, Masks) else None
    networks = network_of_each(trained.tensors) if scope_shares == SEPARATE else None
    new, spared = _select(trained.tensors, list(masks), old, survivors, ranking, start, networks)
    return Ticket.of(new, rewind.tensors, replace(origin, spared=spared))
