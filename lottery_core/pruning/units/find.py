"""Find the whole units of a network: the dialects know which parameters belong together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from lottery_core import dialects
from lottery_core.dialects import Shapes
from lottery_core.errors import ConfigError, MaskError, PruneError, ScopeError, unknown_choice
from lottery_core.pruning.units.layout import Layout, restricted
from lottery_core.tickets import UNIT, WEIGHT, Ticket, Weights


def check_granularity(granularity: str) -> str:
    """Check a granularity and return it unchanged.

    :raises ConfigError: it is neither ``"weight"`` nor ``"unit"``
    """
    if granularity not in (WEIGHT, UNIT):
        raise unknown_choice(granularity, "granularity", (WEIGHT, UNIT))
    return granularity


def layout_of(shapes: Shapes, pool: Iterable[str], heads: Mapping[str, int]) -> Layout:
    """Find the units of a pool.

    :param shapes: shapes of all tensors of the network by name, of the pool and of the rest
    :param pool: names in the pool
    :param heads: attention -> number of its heads
    :raises ConfigError: the network has no units, none of them are known, or an attention's number of heads is missing
    :raises ScopeError: there are units, but none of them lies in the pool
    """
    names = list(pool)
    groups = next((found for row in dialects.every() if (found := row.units(shapes, heads))), ())
    if not groups:
        raise ConfigError(
            f"granularity '{UNIT}': this network has no hidden layers, or the names of its tensors do not say which "
            f"layer reads which ({', '.join(sorted(shapes)[:3])}, ...), so no whole unit can be pruned; use "
            f"granularity '{WEIGHT}'"
        )
    chosen = restricted(groups, shapes, names)
    if not chosen:
        raise ScopeError(
            f"granularity '{UNIT}': the scope has no layer whose units can be pruned; those of the network are "
            f"{', '.join(group.layer for group in groups[:4])}{', ...' if len(groups) > 4 else ''}"
        )
    return Layout({name: shapes[name] for name in names}, chosen)


def layout_of_weights(weights: Weights, scope: str | Sequence[str], granularity: str) -> Layout | None:
    """Find the units of the weights in a scope; ``None`` if parameters are pruned one by one.

    :param weights: weights of a network
    :param scope: which parameters are in the pool
    :param granularity: ``"weight"`` or ``"unit"``
    :raises LotteryError: see :func:`layout_of`, or the granularity is unknown
    """
    if check_granularity(granularity) != UNIT:
        return None
    shapes = {name: tensor.shape for name, tensor in weights.tensors.items()}
    return layout_of(shapes, weights.pool(scope), weights.heads)


def layout_of_ticket(ticket: Ticket) -> Layout | None:
    """Return the units of a ticket's pool; ``None`` if its parameters are pruned one by one.

    :param ticket: the ticket
    :raises LotteryError: see :func:`layout_of`
    :raises MaskError: the ticket's origin says that it prunes whole units, and its masks do not
    """
    if ticket.origin.granularity != UNIT:
        return None
    shapes = {name: tensor.shape for name, tensor in ticket.start().items()}
    layout = layout_of(shapes, ticket.masks, ticket.origin.heads)
    if not layout.are_whole(ticket.masks):
        raise MaskError(f"the masks of this {ticket.origin.kind} ticket do not prune whole units, as its origin says")
    return layout


def check_reachable(layout: Layout, survivors: int) -> None:
    """Check that whole units can leave as few parameters as a round asks for.

    :param layout: the units
    :param survivors: number of survivors
    :raises PruneError: more survive if each layer keeps a single unit
    """
    least = layout.least
    if survivors < least:
        raise PruneError(
            f"cannot leave {survivors:,} parameters: whole units leave at least {least:,}, since each layer keeps a "
            "unit, and embeddings, outputs and residual streams stay whole (prune less, or take them out of the scope)"
        )
