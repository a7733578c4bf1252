"""One round of pruning, and the schedule of counts (PAPER 3.1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from lottery_core.errors import MaskError, PruneError
from lottery_core.pruning.criteria import LAYER, MAGNITUDE, Criterion, criterion_named
from lottery_core.pruning.kinds import WINNING
from lottery_core.pruning.selection import Candidate, Pool, smallest, survivors_above
from lottery_core.tickets import ALL, Masks, Origin, Ticket, Weights, as_scope


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

    Of equal scores those earlier in the pool are pruned first. With a criterion that scores element by element this
    takes about one byte a parameter beside the masks that come in.

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
        if weights[name].is_complex():
            raise PruneError(f"'{name}' is complex: complex parameters cannot be ranked; leave them out of the scope")
    if criterion.uses_rewind and rewind is None:
        raise PruneError(f"the criterion {criterion.name} needs the weights at the rewind point")
    candidates = [
        Candidate(name, weights[name], None if old is None else old[name], None if rewind is None else rewind[name])
        for name in names
    ]
    whole = Pool(candidates, criterion)
    if not 1 <= survivors <= whole.left:
        raise PruneError(f"cannot leave {survivors} parameters: {whole.left} are left, and at least 1 must survive")
    if survivors == whole.left:
        whole.check_finite()
        return old if old is not None else Masks.ones({name: weights[name] for name in names})
    if criterion.share == LAYER:
        pools = [Pool([candidate], criterion) for candidate in candidates]
        flat: dict[str, Tensor] = {}
        for pool, count in zip(pools, _shares([pool.left for pool in pools], survivors), strict=True):
            flat |= _keep(pool, count)
    else:
        flat = _keep(whole, survivors)
    return Masks({name: mask.reshape(weights[name].shape) for name, mask in flat.items()})


def _check_start(rewind: Weights, names: Iterable[str]) -> None:
    # What survivors start from must be numbers, as what is ranked must.
    for name in names:
        values = rewind.tensors[name]
        if not bool(torch.isfinite(values).all()):
            bad = int((~torch.isfinite(values)).sum())
            raise PruneError(f"cannot rewind: {bad} weights of '{name}' in {rewind.source} are NaN or infinite")


def _keep(pool: Pool, survivors: int) -> dict[str, Tensor]:
    remove = pool.left - survivors
    if not survivors:
        pool.check_finite()
        return {name: torch.zeros(size, dtype=torch.bool) for name, size in pool.sizes().items()}
    if not remove:
        pool.check_finite()
        return survivors_above(pool, -float("inf"), ties=0)
    threshold, below = smallest(pool, remove)
    return survivors_above(pool, threshold, ties=remove - below)


def _shares(left: Sequence[int], survivors: int) -> list[int]:
    # The same share of each, by largest remainders, so that the sum is exact.
    total = sum(left)
    counts = [survivors * each // total for each in left]
    missing = survivors - sum(counts)
    by_remainder = sorted(range(len(left)), key=lambda index: -(survivors * left[index] % total))
    for index in by_remainder[:missing]:
        counts[index] += 1
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
) -> Ticket:
    """Find the next winning ticket: prune the trained weights and reset the survivors to the rewind point.

    Give one of ``rate``, ``fraction`` and ``survivors``.

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
    :raises PruneError: NaN weights, a rate outside (0, 1), nothing left to prune
    :raises MismatchError: ``trained``, ``rewind`` and ``previous`` do not share one architecture
    :raises ScopeError: the scope selects nothing
    :raises ConfigError: unknown criterion
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
    )
    start = rewind.tensors if ranking.uses_rewind else None
    _check_start(rewind, masks)
    return Ticket.of(prune_masks(trained.tensors, masks, survivors, ranking, start), rewind.tensors, origin)
