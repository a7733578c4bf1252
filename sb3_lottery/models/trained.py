"""Tell whether a policy has been trained with a ticket, so that another ``learn`` goes on with it."""

from __future__ import annotations

import weakref
from collections.abc import Iterable

from torch import Tensor, nn

from lottery_core.tickets import Ticket, live_parameters
from sb3_lottery.models.parameters import target_names

# A model that resumes its ticket has hardly a zero among the survivors; a model that holds a smaller ticket has many.
_MOST_ZEROS = 0.001  # share of the survivors
# By policy the names of the ticket that it was last trained with in this process: zeros alone do not tell tickets with
# the same mask apart, and a ticket that prunes nothing has none.
_TRAINED: weakref.WeakKeyDictionary[nn.Module, frozenset[str]] = weakref.WeakKeyDictionary()

_BY_ITS_ZEROS = (
    "the model has zeros where this ticket has, so its training goes on from the model's weights; restart=True starts "
    "from the ticket, and restart=False says that this is meant"
)
_MANY_ZEROS = 0.05  # share of the weights of layers, of which a fresh model has hardly a zero
_LOST = (
    "{:.0%} of the model's weights are zero, but not those that this ticket prunes: another ticket was trained, "
    "and that training is lost, as it starts anew. To go on, pass the ticket that it was trained with, or the seed= of "
    "a kind without one; restart=True says that this is meant"
)
_ANOTHER = (
    "the model has been trained with another ticket that keeps the same weights, so it starts anew from this one; "
    "restart=False goes on from the model's weights"
)


def remember_ticket(policy: nn.Module, names: Iterable[str]) -> None:
    """Remember which ticket a policy is trained with, as long as the policy lives.

    :param policy: policy of an SB3 model
    :param names: what tells the ticket apart, e.g. the digest of its content; one equal name is enough
    """
    _TRAINED[policy] = frozenset(names)


def goes_on(ticket: Ticket, policy: nn.Module, names: Iterable[str]) -> tuple[bool, str | None]:
    """Return whether a policy has been trained with a ticket and still has its zeros, and a warning in case of doubt.

    :param ticket: a ticket
    :param policy: policy of an SB3 model of the same architecture, with the same names
    :param names: what tells the ticket apart, see :func:`remember_ticket`
    """
    known = _TRAINED.get(policy)
    if known is not None and not known.isdisjoint(names):
        return not _revived(ticket, _parameters(policy)), None
    held = holds_ticket(ticket, policy)
    if known is not None:
        return False, _ANOTHER if held else None
    zeros = _share_of_zeros(ticket, policy)
    return held, _BY_ITS_ZEROS if held else _LOST.format(zeros) if zeros > _MANY_ZEROS else None


def is_known(policy: nn.Module) -> bool:
    """Return whether a policy has been trained with a ticket in this process.

    :param policy: policy of an SB3 model
    """
    return policy in _TRAINED


def holds_ticket(ticket: Ticket, policy: nn.Module) -> bool:
    """Return whether a policy has zeros exactly where a ticket has; ``False`` if the ticket prunes nothing.

    :param ticket: a ticket, perhaps of another architecture
    :param policy: policy of an SB3 model
    """
    masks, parameters = ticket.masks, _parameters(policy)
    shapes = {name: parameters[name].shape for name in masks if name in parameters}
    if not masks.pruned or shapes != {name: mask.shape for name, mask in masks.items()}:
        return False
    if _revived(ticket, parameters):
        return False
    zeros = sum(int(((parameters[name].cpu() == 0) & (ticket.weights[name] != 0)).sum()) for name in masks)
    return zeros <= _MOST_ZEROS * masks.surviving


def _revived(ticket: Ticket, parameters: dict[str, Tensor]) -> bool:
    return any(bool(parameters[name].cpu()[~mask].any()) for name, mask in ticket.masks.items())


def _share_of_zeros(ticket: Ticket, policy: nn.Module) -> float:
    layers = [each for name, each in _parameters(policy).items() if name in ticket.masks and each.dim() > 1]
    return sum(int((each == 0).sum()) for each in layers) / max(1, sum(each.numel() for each in layers))


def _parameters(policy: nn.Module) -> dict[str, Tensor]:
    return {name: same[0].detach() for name, same in live_parameters(policy, target_names(policy)).items()}
