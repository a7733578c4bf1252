"""Tickets whose masks another experiment found: which tensors have a partner there, and what happens to the others."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lottery_core.errors import ConfigError, unknown_choice
from lottery_core.pruning.criteria import MAGNITUDE, criterion_named
from lottery_core.pruning.kinds import TRANSFERS, random_masks
from lottery_core.pruning.selection import check_scope_shares, prune_masks
from lottery_core.tickets import (
    ALL,
    SEPARATE,
    TOGETHER,
    Masks,
    Origin,
    Ticket,
    Weights,
    as_scope,
    empty_slices,
    network_of_each,
    normalised_weights,
)

ALONE_DENSE, ALONE_PRUNED = "dense", "prune"
UNMATCHED = {
    ALONE_DENSE: "they are not pruned",
    ALONE_PRUNED: "the dense network's criterion prunes them together, to the share of this experiment's own schedule",
}
_SHOWN = 4  # tensors in a line


@dataclass(frozen=True)
class Rename:
    """A change of names of the other experiment's tensors.

    :param pattern: regular expression, searched in a name
    :param replacement: what replaces every match, as in :func:`re.sub`
    """

    pattern: str
    replacement: str

    @classmethod
    def parse(cls, word: str) -> Rename:
        """Parse ``REGEX=REPLACEMENT``; the last ``=`` separates them.

        :raises ConfigError: there is no ``=``, or the regular expression is invalid
        """
        pattern, equals, replacement = word.rpartition("=")
        if not equals or not pattern:
            raise ConfigError(f"--map '{word}' has another form than REGEX=REPLACEMENT, e.g. 'features=mlp'")
        found = cls(pattern, replacement)
        found(pattern)
        return found

    def __call__(self, name: str) -> str:
        """Return a name with every match replaced.

        :raises ConfigError: the regular expression or its replacement is invalid
        """
        try:
            return re.sub(self.pattern, self.replacement, name)
        except (re.error, IndexError) as error:
            raise ConfigError(f"--map '{self.pattern}={self.replacement}' is invalid: {error}") from error


@dataclass(frozen=True)
class Partners:
    """The tensors of a pool and their partners in a ticket of another experiment.

    :param names: name here -> name there, for tensors of the pool whose mask is carried over
    :param alone: name here -> why it has no partner there, for the other tensors of the pool
    :param sizes: name here -> number of parameters, for all tensors of the pool
    """

    names: Mapping[str, str]
    alone: Mapping[str, str]
    sizes: Mapping[str, int]

    @cached_property
    def pool(self) -> int:
        """The number of parameters in the pool."""
        return sum(self.sizes.values())

    @cached_property
    def carried(self) -> int:
        """The number of parameters in tensors whose mask is carried over."""
        return sum(self.sizes[name] for name in self.names)

    def describe(self, unmatched: str) -> str:
        """Say how much of the network is carried over, and which tensors have no partner.

        :param unmatched: what happens to those, one of :data:`UNMATCHED`
        """
        line = (
            f"carried over: the masks of {len(self.names)} of {len(self.sizes)} tensors, {self.carried:,} of "
            f"{self.pool:,} parameters ({self.carried / self.pool:.1%})"
        )
        if not self.alone:
            return line
        some = [f"{name} ({why})" for name, why in self.alone.items()]
        more = "" if len(some) <= _SHOWN else f" and {len(some) - _SHOWN} more"
        what = "stay dense" if unmatched == ALONE_DENSE else "are pruned by the criterion of this experiment"
        return f"{line}; without a partner, so that they {what}: {', '.join(some[:_SHOWN])}{more}"


def partners(own: Weights, scope: str | Sequence[str], masks: Masks, renames: Iterable[Rename] = ()) -> Partners:
    """Find the tensors of a pool that have a mask of the same name and shape in another experiment.

    :param own: weights of the network here
    :param scope: which of them are in the pool, see :func:`lottery_core.pool_names`
    :param masks: masks of the other experiment
    :param renames: changes of the names there, in their order, before names are compared
    :raises ConfigError: two tensors there get the same name, no tensor has a partner, or a mask would leave a slice of
        a normalised weight (``weight_norm``, ``spectral_norm``) without a survivor
    """
    theirs = _renamed(masks, tuple(renames), own.tensors)
    pool = own.pool(scope)
    names, alone = {}, {}
    for name in pool:
        other = theirs.get(name)
        shape = tuple(own.tensors[name].shape)
        if other is None:
            alone[name] = "no such tensor there"
        elif tuple(masks[other].shape) != shape:
            alone[name] = f"{shape} here, {tuple(masks[other].shape)} there"
        else:
            names[name] = other
    if not names:
        first, why = next(iter(alone.items()))
        raise ConfigError(
            f"no tensor has a partner of its name and shape in the other experiment ({first}: {why}; it has "
            f"{', '.join(list(theirs)[:_SHOWN])}, ...): --map REGEX=REPLACEMENT changes the names there"
        )
    _check_slices(names, masks, own.tensors)
    return Partners(names, alone, {name: own.tensors[name].numel() for name in pool})


def _check_slices(names: Mapping[str, str], masks: Masks, own: Mapping[str, Tensor]) -> None:
    slices = normalised_weights({name: tensor.shape for name, tensor in own.items()})
    for name in names.keys() & slices.keys():
        empty = empty_slices(masks[names[name]], slices[name])
        if empty:
            raise ConfigError(
                f"the mask of {names[name]} in the other experiment leaves no survivor in {empty} of the slices of "
                f"{name}, each of which is divided by its norm here (weight_norm, spectral_norm): "
                f"--map '^{re.escape(names[name])}$=none' before any other leaves that mask out"
            )


def transferred(
    kind: str,
    other: Ticket,
    start: Weights,
    trained: Weights,
    left: Callable[[int], int],
    *,
    renames: Iterable[Rename] = (),
    unmatched: str = ALONE_DENSE,
    scope: str | Sequence[str] = ALL,
    criterion: str = MAGNITUDE.name,
    scope_shares: str = TOGETHER,
    rewind_point: str = "unknown",
    seed: int | None = None,
    shuffle_seed: int = 0,
) -> Ticket:
    """Make the ticket of a network whose masks come from a ticket of another experiment.

    Each tensor of the pool whose partner has the same name and shape takes over its mask, to the parameter. Under
    ``transfer-values`` every tensor with a partner also starts from its value there, frozen parameters excepted.

    :param kind: one of :data:`~lottery_core.pruning.kinds.TRANSFERS`
    :param other: the ticket of the other experiment
    :param start: weights at the rewind point here
    :param trained: weights of the trained dense network here, by which tensors without a partner are ranked
    :param left: (number of these tensors' parameters) -> number of them that survive if they are pruned
    :param renames: changes of the names there
    :param unmatched: what happens to tensors without a partner, one of :data:`UNMATCHED`
    :param scope: which parameters are in the pool, see :func:`lottery_core.pool_names`
    :param criterion: how tensors without a partner are ranked if they are pruned
    :param scope_shares: whether all networks are one pool, see :func:`lottery_core.prune`
    :param rewind_point: rewind point written into the ticket
    :param seed: seed written into the ticket
    :param shuffle_seed: seeds the shuffle of ``transfer-random``
    :raises ConfigError: the kind, ``unmatched`` or the scope shares are unknown, shares are separate for a pool of one
        network, or the masks do not fit, see :func:`partners`
    :raises PruneError: the tensors without a partner cannot be pruned to that number
    """
    if kind not in TRANSFERS:
        raise unknown_choice(kind, "kind of transferred ticket", TRANSFERS)
    check_unmatched(unmatched)
    renames = tuple(renames)
    found = partners(start, scope, other.masks, renames)
    check_scope_shares(scope_shares, found.sizes, start.tensors)
    masks = {name: other.masks[there] for name, there in found.names.items()}
    alone = {name: start.tensors[name] for name in found.alone}
    if alone and unmatched == ALONE_PRUNED:
        survivors = max(1, left(sum(tensor.numel() for tensor in alone.values())))
        ranking = criterion_named(criterion)
        early = start.tensors if ranking.uses_rewind else None
        networks = network_of_each(start.tensors) if scope_shares == SEPARATE else None
        masks |= prune_masks(trained.like(start).tensors, alone, survivors, ranking, early, networks, spread_ties=True)
    elif alone:
        masks |= Masks.ones(alone)
    values = {**start.tensors, **(_values(other, start, renames, alone) if TRANSFERS[kind].values else {})}
    origin = Origin(
        kind=kind,
        round=other.origin.round,
        scope=as_scope(scope),
        prune_rate=None,
        rewind=other.origin.rewind if TRANSFERS[kind].values else rewind_point,
        seed=seed,
        parent=other.digest,
        criterion=criterion if alone and unmatched == ALONE_PRUNED else other.origin.criterion,
        scope_shares=scope_shares,
        carried=tuple(sorted(found.names)),
    )
    made = Ticket.of(Masks(masks), values, origin)
    if not TRANSFERS[kind].shuffled:
        return made
    generator = torch.Generator().manual_seed(shuffle_seed)
    return Ticket.of(random_masks(made, made.masks.survivors(), generator), values, origin)


def check_unmatched(word: str) -> str:
    """Check what happens to tensors without a partner, and return it unchanged.

    :raises ConfigError: it is none of :data:`UNMATCHED`
    """
    if word not in UNMATCHED:
        raise unknown_choice(word, "treatment of tensors without a partner", UNMATCHED)
    return word


def check_names(names: Iterable[str], renames: Iterable[Rename], own: Mapping[str, Tensor]) -> None:
    """Check that a change of names gives no two tensors there the name of one here.

    :param names: names of the tensors there
    :param renames: changes of these names
    :param own: tensors here, by name
    :raises ConfigError: two tensors get the same name
    """
    _renamed(names, tuple(renames), own)


def _renamed(names: Iterable[str], renames: Sequence[Rename], own: Mapping[str, Tensor]) -> dict[str, str]:
    # Maps new names to the names there. Several names may become one that nothing has here: they are left out.
    result: dict[str, str] = {}
    for name in names:
        new = name
        for rename in renames:
            new = rename(new)
        if new in result and new in own:
            raise ConfigError(f"--map gives {result[new]} and {name} of the other experiment the same name, {new}")
        result[new] = name
    return result


def _values(other: Ticket, start: Weights, renames: Sequence[Rename], alone: Mapping[str, Tensor]) -> dict[str, Tensor]:
    values = other.start()
    theirs = _renamed(values, renames, start.tensors)
    result = {}
    for name, tensor in start.tensors.items():
        there = values.get(theirs.get(name, ""))
        if there is not None and there.shape == tensor.shape and name not in {*(start.frozen or ()), *alone}:
            result[name] = there.to(tensor.dtype)
    return result
