"""One round of pruning, and the schedule of counts (PAPER 3.1)."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lottery_core.errors import ConfigError, MaskError, PruneError, unknown_choice
from lottery_core.pruning.checks import check_start, check_types
from lottery_core.pruning.criteria import LAYER, MAGNITUDE, Criterion, criterion_named
from lottery_core.pruning.kinds import WINNING
from lottery_core.pruning.selection import Candidate, Pool, smallest, survivors_above
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
    """Return a rate unchanged.

    :raises PruneError: ``rate`` is not strictly between 0 and 1
    """
    if not 0 < rate < 1:
        raise PruneError(f"the {name} must lie strictly between 0 and 1, not {rate:g}")
    return rate


def schedule(pool: int, rate: float, rounds: int) -> list[int]:
    """How many survive after 0, 1, ... ``rounds`` rounds; each prunes ``round(rate x left)`` of what is left.

    :param pool: parameters in the pool
    :param rate: share of the remaining parameters, in (0, 1)
    :returns: ``rounds + 1`` counts, the first of which is ``pool``
    :raises PruneError: a rate outside (0, 1)
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
    """Masks that leave exactly ``survivors`` parameters, those with the highest scores.

    Of equal scores those earlier in the pool are pruned first. Weights that are divided by the norm of a slice
    (``weight_norm``, ``spectral_norm``) keep a survivor in each slice; the next smallest go elsewhere. With a criterion
    that scores element by element this takes about one byte a parameter beside the masks that come in.

    :param weights: trained weights by name, at least those of the pool
    :param masks: what survives now; or the names of a pool in which everything survives
    :param survivors: how many parameters to leave, at least 1
    :param criterion: ranks the parameters; the paper's global magnitude by default
    :param rewind: weights at the rewind point by name, for criteria that use them
    :raises MaskError: a tensor of the pool is missing or has another shape than its mask
    :raises PruneError: NaN or infinite weights, more survivors asked for than are left, none, or no ``rewind``
    """
    old = masks if isinstance(masks, Masks) else None
    names = list(old) if old is not None else sorted(masks)
    for name in names:
        if name not in weights or (old is not None and weights[name].shape != old[name].shape):
            raise MaskError(f"the trained weights have no '{name}' of the mask's shape")
    if criterion.uses_rewind and rewind is None:
        raise PruneError(f"the criterion {criterion.name} needs the weights at the rewind point")
    return _select(weights, names, old, survivors, criterion, rewind)[0]


def check_scope_shares(scope_shares: str, pool: Iterable[str] = (), names: Iterable[str] = ()) -> str:
    """Return a word for the scope shares unchanged.

    :param scope_shares: ``"together"`` or ``"separate"``
    :param pool: names in the pool, where they are known already
    :param names: names of all parameters
    :raises ConfigError: another word, or separate shares of a pool that is not of several networks
    """
    if scope_shares not in (TOGETHER, SEPARATE):
        raise unknown_choice(scope_shares, "scope shares", (TOGETHER, SEPARATE))
    chosen = list(pool)
    if scope_shares == SEPARATE and chosen:
        owners = network_of_each(names)
        networks = sorted({owners[name] for name in chosen})
        if len(networks) < 2:
            raise ConfigError(
                f"scope shares '{SEPARATE}' need a pool of several networks (actor and critic, encoder and decoder), "
                f"and this one has only '{networks[0]}': leave them '{TOGETHER}'"
            )
    return scope_shares


def _select(
    weights: Mapping[str, Tensor],
    names: Sequence[str],
    old: Masks | None,
    survivors: int,
    criterion: Criterion,
    rewind: Mapping[str, Tensor] | None,
    networks: Mapping[str, str] | None = None,
) -> tuple[Masks, dict[str, int]]:
    # The masks; and how many survive only for their slice. Networks: of each tensor, where each keeps the same share.
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
    groups = _groups(names, criterion, networks)
    least = [sum(int(needed[names[index]].sum()) for index in group if names[index] in needed) for group in groups]
    one = len(groups) == 1
    left = [whole.left if one else Pool([candidates[index] for index in group], criterion).left for group in groups]
    counts = _shares(left, survivors, least)
    parts = [
        _keep(Pool([free[index] for index in group], criterion), kept - own)
        for group, kept, own in zip(groups, counts, least, strict=True)
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


def _groups(names: Sequence[str], criterion: Criterion, networks: Mapping[str, str] | None) -> list[list[int]]:
    # The tensors that share one pool, by index; each group keeps the same share.
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        groups.setdefault(name if criterion.share == LAYER else networks[name] if networks else "", []).append(index)
    return list(groups.values())


def _needed(weights: Mapping[str, Tensor], candidates: Sequence[Candidate], criterion: Criterion) -> dict[str, Tensor]:
    # The best survivor of each slice of a weight that is divided by the slice's norm.
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
    # The masks, flat, and the highest score that is pruned.
    remove = pool.left - survivors
    if not survivors or not remove:
        pool.check_finite()
        if survivors:
            return survivors_above(pool, -float("inf"), ties=0), -float("inf")
        return {name: torch.zeros(size, dtype=torch.bool) for name, size in pool.sizes().items()}, float("inf")
    threshold, below = smallest(pool, remove)
    return survivors_above(pool, threshold, ties=remove - below), threshold


def _shares(left: Sequence[int], survivors: int, least: Sequence[int]) -> list[int]:
    # The same share of each, by largest remainders, so that the sum is exact; and not less than the least of each.
    total = sum(left)
    counts = [survivors * each // total for each in left]
    missing = survivors - sum(counts)
    by_remainder = sorted(range(len(left)), key=lambda index: -(survivors * left[index] % total))
    for index in by_remainder[:missing]:
        counts[index] += 1
    counts = [max(count, minimum) for count, minimum in zip(counts, least, strict=True)]
    for _ in range(sum(counts) - survivors):
        richest = max(range(len(counts)), key=lambda index: counts[index] - least[index])
        counts[richest] -= 1
    return counts


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

    Give one of ``rate``, ``fraction`` and ``survivors``. Warns (``UserWarning``) where the weights look as if they had
    trained a ticket that is not given as ``previous``.

    :param trained: weights at the end of training (of the ``previous`` ticket where there is one)
    :param rewind: weights at the rewind point, of the same architecture
    :param rate: share of the *remaining* parameters to prune, in (0, 1) (iterative pruning)
    :param fraction: share of the *whole* pool to be pruned afterwards, in (0, 1) (one-shot pruning)
    :param survivors: how many parameters survive
    :param previous: the ticket of the round before; its masks and its scope are carried on
    :param scope: which parameters are in the pool, see :func:`lottery_core.pool_names`
    :param kind: kind written into the ticket; that of ``previous``, or ``"winning"``, by default
    :param rewind_point: rewind point written into the ticket, e.g. ``"episodes:160"``
    :param seed: seed written into the ticket
    :param criterion: how parameters are ranked, one of :data:`lottery_core.CRITERIA`; that of ``previous``, or
        ``"magnitude"``, by default
    :param scope_shares: ``"together"``: all networks are one pool; ``"separate"``: each (actor, critic; encoder,
        decoder; what they share) is pruned at the same rate; that of ``previous``, or ``"together"``, by default
    :raises PruneError: NaN weights, a rate outside (0, 1), nothing left to prune
    :raises MismatchError: ``trained``, ``rewind`` and ``previous`` do not share one architecture
    :raises ScopeError: the scope selects nothing
    :raises ConfigError: unknown criterion, or separate shares of a model whose networks are not known
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
        kind=kind or (WINNING if previous is None else previous.origin.kind),
        round=1 if previous is None else previous.origin.round + 1,
        scope=as_scope(scope),
        prune_rate=rate,
        rewind=rewind_point,
        seed=seed,
        parent=None if previous is None else previous.digest,
        criterion=criterion,
        scope_shares=scope_shares,
    )
    old = masks if isinstance(masks, Masks) else None
    networks = network_of_each(trained.tensors) if scope_shares == SEPARATE else None
    early = rewind.tensors if ranking.uses_rewind else None
    new, spared = _select(trained.tensors, list(masks), old, survivors, ranking, early, networks)
    return Ticket.of(new, rewind.tensors, replace(origin, spared=spared))
