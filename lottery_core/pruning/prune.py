"""One round of global magnitude pruning, and the schedule of counts (PAPER 3.1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from lottery_core.errors import MaskError, PruneError
from lottery_core.pruning.kinds import WINNING
from lottery_core.pruning.selection import Pool, smallest, survivors_above
from lottery_core.tickets import ALL, Masks, Origin, Ticket, Weights, as_scope, pool_names


def check_rate(rate: float, name: str = "prune rate") -> float:
    """:raises PruneError: ``rate`` is not strictly between 0 and 1"""
    if not 0 < rate < 1:
        raise PruneError(f"the {name} must lie strictly between 0 and 1, not {rate:g}")
    return rate


def schedule(pool: int, rate: float, rounds: int) -> list[int]:
    """How many survive after 0, 1, ... ``rounds`` rounds: each removes ``round(rate x left)`` of what is left.

    :param pool: parameters in the pool
    :param rate: share of the remaining parameters, in (0, 1)
    :returns: ``rounds + 1`` counts, of which the first is ``pool``
    :raises PruneError: the rate is outside (0, 1)
    """
    check_rate(rate)
    left = [pool]
    for _ in range(rounds):
        left.append(left[-1] - round(rate * left[-1]))
    return left


def prune_masks(weights: Mapping[str, Tensor], masks: Masks | Iterable[str], survivors: int) -> Masks:
    """Masks in which the ``survivors`` largest magnitudes of the pool are left, exactly that many.

    All tensors are one pool. Of equal magnitudes those earlier in the pool go first.
    Costs about one byte a parameter beside the masks that come in.

    :param weights: trained weights by name, at least those of the pool
    :param masks: what survives now; or the names of the pool, of which then everything survives
    :param survivors: how many are to be left, at least 1
    :raises PruneError: NaN or infinite weights, more survivors asked for than are left, or none
    """
    old = masks if isinstance(masks, Masks) else None
    names = list(old) if old is not None else sorted(masks)
    for name in names:
        if name not in weights or (old is not None and weights[name].shape != old[name].shape):
            raise MaskError(f"the trained weights have no '{name}' of the mask's shape")
    pool = Pool([(name, weights[name], None if old is None else old[name]) for name in names])
    if not 1 <= survivors <= pool.left:
        raise PruneError(f"cannot leave {survivors} parameters: {pool.left} are left, and at least 1 must survive")
    if survivors == pool.left:
        pool.check_finite()
        return old if old is not None else Masks.ones({name: weights[name] for name in names})
    remove = pool.left - survivors
    threshold, below = smallest(pool, remove)
    flat = survivors_above(pool, threshold, ties=remove - below)
    return Masks({name: mask.reshape(weights[name].shape) for name, mask in flat.items()})


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
) -> Ticket:
    """Find the next winning ticket: prune the trained weights, reset the survivors to the rewind point.

    Give one of ``rate``, ``fraction`` and ``survivors``.

    :param trained: weights at the end of training (of the ``previous`` ticket where there is one)
    :param rewind: weights at the rewind point, of the same architecture
    :param rate: share of the *remaining* parameters to remove, in (0, 1) (iterative pruning)
    :param fraction: share of the *whole* pool to be pruned afterwards, in (0, 1) (one-shot pruning)
    :param survivors: how many parameters are to survive
    :param previous: the ticket of the round before; its masks and its scope go on
    :param scope: which parameters are in the pool, see :func:`lottery_core.tickets.scope.pool_names`
    :param kind: written into the ticket; that of ``previous``, or ``"winning"``, by default
    :param rewind_point: written into the ticket, e.g. ``"episodes:160"``
    :param seed: written into the ticket
    :raises PruneError: NaN weights, a rate outside (0, 1), nothing left to prune
    :raises MismatchError: ``trained``, ``rewind`` and ``previous`` are not of one architecture
    :raises ScopeError: the scope selects nothing
    """
    if sum(value is not None for value in (rate, fraction, survivors)) != 1:
        raise PruneError("give exactly one of rate, fraction and survivors")
    trained = trained.without_lost_aliases(rewind)
    rewind.require_same_shapes(trained)
    if previous is not None:
        previous.require_fit({name: tensor.shape for name, tensor in trained.tensors.items()}, trained.source)
        masks: Masks | list[str] = previous.masks
        pool, left = previous.masks.pool, previous.masks.surviving
        scope = previous.origin.scope
    else:
        masks = pool_names(trained.names(), scope, trained.outside)
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
    )
    return Ticket.of(prune_masks(trained.tensors, masks, survivors), rewind.tensors, origin)
