"""One round of pruning, and the schedule of counts (arXiv 1906.02768, section 3.1)."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import SupportsIndex

from lottery_core.errors import PruneError
from lottery_core.pruning.criteria import MAGNITUDE, criterion_named
from lottery_core.pruning.selection import check_scope_shares, check_start, rounded_to, select
from lottery_core.pruning.units import check_granularity, layout_of
from lottery_core.pruning.zeros import forgotten_masks
from lottery_core.tickets import (
    ALL,
    SEPARATE,
    TOGETHER,
    UNIT,
    WEIGHT,
    Masks,
    Origin,
    Ticket,
    Weights,
    as_scope,
    network_of_each,
)


def check_rate(rate: float, name: str = "prune rate") -> float:
    """Check a rate and return it unchanged.

    :raises PruneError: ``rate`` is not strictly between 0 and 1
    """
    if not 0 < rate < 1:
        raise PruneError(f"the {name} must lie strictly between 0 and 1, not {rate:g}")
    return rate


def schedule(pool: int, rate: float, rounds: int, first: float | None = None) -> list[int]:
    """Return the number of survivors after 0, 1, ... ``rounds`` rounds; each round prunes ``round(rate x left)``.

    :param pool: number of parameters in the pool
    :param rate: share of the remaining parameters that each round prunes, in (0, 1)
    :param rounds: number of rounds
    :param first: share of the pool that survives the first round, in (0, 1); ``None`` if it prunes as the others do
    :returns: ``rounds + 1`` counts, the first of which is ``pool``
    :raises PruneError: a rate is outside (0, 1)
    """
    check_rate(rate)
    rates = [rate if first is None else 1 - check_rate(first, "share that survives the first round")]
    left = [pool]
    for some in [*rates, *[rate] * (rounds - 1)][:rounds]:
        left.append(left[-1] - round(some * left[-1]))
    return left


def whole(value: SupportsIndex | None, name: str) -> int | None:
    """Return a whole number of any kind, such as numpy's, as an ``int``; ``None`` stays.

    :param value: the number
    :param name: what it is, for the message
    :raises PruneError: it is no whole number
    """
    try:
        return None if value is None else operator.index(value)
    except TypeError as error:
        raise PruneError(f"{name} must be a whole number, not {value!r}") from error


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
    granularity: str | None = None,
) -> Ticket:
    """Find the next winning ticket: prune the trained weights and reset the survivors to the rewind point.

    Give one of ``rate``, ``fraction`` and ``survivors``. Of equal scores, those earlier in the pool are pruned first.
    Among weights rounded to fp16 or bf16 thousands are equal: those that are pruned are spread over the pool, with a
    warning (``UserWarning``). Also warns if the weights seem to be those of a trained ticket that is not given as
    ``previous``.

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
    :param granularity: ``"weight"``: parameters are pruned one by one; ``"unit"``: units of hidden layers, channels,
        heads of attentions and units of LSTMs are pruned whole, with their biases, by the mean score of their weights.
        Then the count is met to within one unit. By default as in ``previous``, else ``"weight"``
    :raises PruneError: not exactly one of ``rate``, ``fraction`` and ``survivors`` is given, a rate is outside (0, 1),
        more than that is pruned already, a weight is NaN, infinite or of a type that cannot be ranked, or nothing is
        left to prune
    :raises MismatchError: ``trained``, ``rewind`` and ``previous`` do not share one architecture
    :raises ScopeError: the scope selects nothing, or the file does not say whether what it selects are parameters
    :raises ConfigError: the criterion, the shares or the granularity is unknown, or shares are separate and the model's
        networks are not known, or whole units are pruned and the model's units are not known
    """
    if sum(value is not None for value in (rate, fraction, survivors)) != 1:
        raise PruneError("give exactly one of rate, fraction and survivors")
    # numpy's numbers are neither JSON nor exact beyond 2^24.
    survivors, seed = whole(survivors, "survivors"), whole(seed, "seed")
    rate, fraction = (None if value is None else float(value) for value in (rate, fraction))
    trained = trained.like(rewind)
    rewind = rewind.like(trained)
    rewind.require_same_shapes(trained)
    if criterion is None:
        criterion = MAGNITUDE.name if previous is None else previous.origin.criterion
    ranking = criterion_named(criterion)
    parent = None if previous is None else previous.digest  # of its file, whose names may be others
    if previous is not None:
        previous = previous.named_as(trained.tensors)
        previous.require_fit({name: tensor.shape for name, tensor in trained.tensors.items()}, trained.source)
        alive = sum(int(trained.tensors[name][~mask].count_nonzero()) for name, mask in previous.masks.items())
        if alive:
            warnings.warn(
                f"WARNING: {alive:,} weights that the previous ticket prunes are not zero in {trained.source}",
                stacklevel=2,
            )
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
    if granularity is None:
        granularity = WEIGHT if previous is None else previous.origin.granularity
    shapes = {name: tensor.shape for name, tensor in trained.tensors.items()}
    heads = trained.heads or ({} if previous is None else previous.origin.heads)
    layout = layout_of(shapes, masks, heads) if check_granularity(granularity) == UNIT else None
    if layout is not None and previous is not None and not layout.are_whole(previous.masks):
        raise PruneError("the previous ticket prunes single weights: its masks cannot be pruned further in whole units")
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
        parent=parent,
        criterion=criterion,
        scope_shares=scope_shares,
        granularity=granularity,
        asked=None if layout is None else survivors,
        heads={} if layout is None else {name: heads[name] for name in layout.counts if name in heads},
    )
    early = rewind.tensors if ranking.uses_rewind else None
    old = masks if isinstance(masks, Masks) else None
    networks = network_of_each(trained.tensors) if scope_shares == SEPARATE else None
    rounded = rounded_to(trained.tensors[name] for name in masks)
    ties = None if rounded is None else [0, 0]
    new, spared = select(trained.tensors, list(masks), old, survivors, ranking, early, networks, ties, layout)
    if ties and ties[0]:
        warnings.warn(
            f"WARNING: the weights in {trained.source} are rounded to {str(rounded)[6:]}, and {ties[0]:,} tie where "
            f"pruning stops: {ties[1]:,} of them are pruned, spread over the pool",
            stacklevel=2,
        )
    return Ticket.of(new, rewind.tensors, replace(origin, spared=spared))
