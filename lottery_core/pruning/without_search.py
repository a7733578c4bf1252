"""Tickets for which nothing is trained before: neither a winning ticket nor a dense run is needed."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real

from lottery_core.errors import ConfigError
from lottery_core.pruning.kinds import CONTROLS, IN_TRAINING, control_ticket
from lottery_core.pruning.selection import check_scope_shares, prune_masks
from lottery_core.pruning.timepoints import INIT
from lottery_core.tickets import ALL, TOGETHER, Masks, Origin, Ticket, Weights, as_scope

WITHOUT_SEARCH = (*(name for name, control in CONTROLS.items() if control.alone), *IN_TRAINING)


def ticket_without_search(
    kind: str,
    start: Weights,
    surviving: float,
    *,
    scope: str | Sequence[str] = ALL,
    seed: int = 0,
    scope_shares: str = TOGETHER,
) -> Ticket:
    """Make a ticket of a kind that needs no winning ticket, from a model's initial weights alone.

    :param kind: ``"erk"``, ``"uniform"``, ``"at-start"``, or a kind that is pruned while it trains: of such a kind
        everything survives at first
    :param start: the weights to start from
    :param surviving: share of the pool that survives, in (0, 1]
    :param scope: which parameters are in the pool, see :func:`lottery_core.pool_names`
    :param seed: seeds the mask
    :param scope_shares: whether all networks are one pool, see :func:`lottery_core.prune`
    :raises ConfigError: the kind needs a winning ticket, the share is outside (0, 1], or the scope shares are unknown,
        or separate for a pool of one network
    :raises ScopeError: the scope selects nothing
    """
    check_without_search(kind, surviving)
    names = start.pool(scope)
    check_scope_shares(scope_shares, names, start.tensors)
    whole = Masks.ones({name: start.tensors[name] for name in names})
    origin = Origin(kind=kind, scope=as_scope(scope), rewind=INIT, seed=seed, scope_shares=scope_shares)
    survivors = survivors_of(surviving, whole.pool)
    if kind in IN_TRAINING:
        return Ticket.of(whole, start.tensors, origin)
    # Stands in for the winning ticket, of which such a kind uses the shapes and the number of survivors.
    counted = Ticket.of(prune_masks(start.tensors, names, survivors), start.tensors, origin)
    made = control_ticket(kind, counted, seed, fresh=start, rewind=start)
    return made.with_origin(parent=None)


def check_without_search(kind: str, surviving: float | None) -> None:
    """Check that a kind needs no winning ticket, and that the surviving share is given.

    :raises ConfigError: it needs one, or the share is missing or outside (0, 1]
    """
    if kind not in WITHOUT_SEARCH:
        raise ConfigError(
            f"a ticket of kind '{kind}' needs a ticket to start from; without one there are {', '.join(WITHOUT_SEARCH)}"
        )
    if surviving is None:
        raise ConfigError(f"a ticket of kind '{kind}' without another one needs its surviving share, e.g. 0.1")
    survivors_of(surviving, 1)


def survivors_of(surviving: float, pool: int) -> int:
    """Return how many parameters of a pool survive, at least 1.

    :param surviving: share of the pool that survives
    :param pool: number of parameters in the pool
    :raises ConfigError: the share is no number, or outside (0, 1]
    """
    if not isinstance(surviving, Real) or isinstance(surviving, bool):
        raise ConfigError(f"the surviving share must be a number, not {surviving!r}")
    if not 0 < surviving <= 1:
        raise ConfigError(f"the surviving share must lie in (0, 1], not {surviving:g}")
    return max(1, round(surviving * pool))
