"""The sorts of kinds.

Tickets found by pruning in a chain of rounds; tickets of another experiment; controls made from the winning ticket;
tickets found while they train.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lottery_core.pruning.units import Layout, Survivors, drop_lowest, layout_of_ticket
from lottery_core.tickets import Masks, Ticket, highest_of_each_slice, normalised_weights

DENSE = "dense"
FLOOR = "floor"  # no kind of ticket: the score without any learning, a row of the results
WINNING = "winning"
GRADUALLY = "gradual"
GRADIENT = "gradient x weight"  # criterion in the rows of kinds that are pruned by it; no criterion to choose
FRESH, REWIND, NOTHING = "fresh", "rewind", "nothing"
Values = Mapping[str, Tensor]


@dataclass(frozen=True)
class Chain:
    """A kind of ticket that is found by pruning trained weights.

    :param name: the kind's name in options and files
    :param meaning: a one-line description for users
    :param iterative: whether to prune the trained ticket of the previous round; otherwise the trained dense network is
        pruned, all at once
    :param rewinds: whether to reset the survivors to the rewind point; otherwise to the initialisation
    :param prunes: whether each round has its ticket; otherwise everything survives, in a single run a seed
    """

    name: str
    meaning: str
    iterative: bool
    rewinds: bool
    prunes: bool = True


@dataclass(frozen=True)
class Transfer(Chain):
    """A kind of ticket whose mask is the winning one of the same round in another experiment.

    :param values: whether tensors with a partner there also start from its values; otherwise from the rewind point here
    :param shuffled: whether the mask is shuffled within each tensor
    """

    iterative: bool = False
    rewinds: bool = True
    values: bool = False
    shuffled: bool = False


@dataclass(frozen=True)
class Control:
    """A kind of ticket that is made from the winning ticket of its round.

    :param name: the kind's name in options and files
    :param meaning: a one-line description for users
    :param make: (winning ticket, the values that the kind needs, random generator) -> masks and start values
    :param needs: which values ``make`` gets: ``"fresh"`` (from the model's own initialiser under another seed),
        ``"rewind"`` (all weights at the rewind point) or ``"nothing"`` (the winning ticket suffices)
    :param alone: whether ``make`` uses no more of the winning ticket than its shapes and its number of survivors, so
        that the kind can be made without a winning ticket
    :param units: whether ``make`` can draw whole units; otherwise the kind has single weights only
    :param budget: whether to train as long as finding and training the winning ticket of the round takes
    :param ranks: whether ``make`` ranks the values that it gets, by the criterion that fits values alone
    :param best_of: whether to draw and train as many tickets as finding and training the winning ticket of the round
        takes trainings, of which the best counts
    """

    name: str
    meaning: str
    make: Callable[[Ticket, Values, torch.Generator], tuple[Masks, Values]]
    needs: str
    alone: bool = False
    units: bool = True
    budget: bool = False
    best_of: bool = False
    ranks: bool = False


@dataclass(frozen=True)
class InTraining:
    """A kind of ticket whose mask is found while it trains, in steps of pruning; nothing is trained before.

    :param name: the kind's name in options and files
    :param meaning: a one-line description for users
    :param rewinds: whether the training starts from the rewind point; otherwise from the initialisation
    :param left: (pool, survivors, share of the steps of pruning that are done) -> number of parameters left
    :param by_gradient: whether parameters are ranked by the sum of gradient x value over the updates since the previous
        step of pruning; otherwise by their magnitude
    :param steps: number of steps of pruning at the beginning of the training; 0 if they follow ``--gradual``
    :param epoch_share: share of an epoch within which these steps are due
    """

    name: str
    meaning: str
    rewinds: bool
    left: Callable[[int, int, float], int]
    by_gradient: bool = False
    steps: int = 0
    epoch_share: float = 0.0


Kind = Chain | Control | InTraining


def shuffled_masks(winning: Ticket, generator: torch.Generator) -> Masks:
    """Shuffle the winning mask within each tensor; every tensor keeps its number of survivors.

    Of a ticket of whole units, each layer keeps as many units, drawn at random.
    """
    layout = layout_of_ticket(winning)
    if layout is not None:
        units = {layer: int(some.sum()) for layer, some in layout.alive(winning.masks).items()}
        drawn = {
            layer: torch.randperm(count, generator=generator, device="cpu") for layer, count in layout.counts.items()
        }
        return layout.masks({layer: order < units[layer] for layer, order in drawn.items()})
    return random_masks(winning, winning.masks.survivors(), generator)


def random_masks(winning: Ticket, survivors: Mapping[str, int], generator: torch.Generator) -> Masks:
    """Draw random masks; a weight that is divided by the norm of each slice keeps a survivor in each slice.

    :param winning: the winning ticket, which gives the shapes
    :param survivors: tensor name -> number of its survivors
    :param generator: a random generator on the CPU, so that masks do not depend on the device
    """
    slices = normalised_weights({name: tensor.shape for name, tensor in winning.start().items()})
    result = {}
    for name, mask in winning.masks.items():
        if name in slices:
            result[name] = _random_with_full_slices(mask.shape, survivors[name], slices[name], generator)
            continue
        flat = torch.zeros(mask.numel(), dtype=torch.bool, device="cpu")
        flat[torch.randperm(mask.numel(), generator=generator, device="cpu")[: survivors[name]]] = True
        result[name] = flat.reshape(mask.shape)
    return Masks(result)


def random_units(layout: Layout, survivors: int, generator: torch.Generator) -> Masks:
    """Draw masks of whole units over the whole pool, which leave ``survivors`` parameters to within one unit.

    :param layout: the units of the pool
    :param survivors: number of parameters that survive
    :param generator: a random generator on the CPU
    """
    alive = layout.alive()
    draws = {layer: torch.rand(count, generator=generator, device="cpu") for layer, count in layout.counts.items()}
    count = Survivors(layout, alive)
    drop_lowest(alive, draws, count, layout.counts, None, count.total - survivors)
    return layout.masks(alive)


def with_full_slices(winning: Ticket, survivors: Mapping[str, int]) -> dict[str, int]:
    """Raise the counts of normalised weights to one survivor per slice; the largest counts fall, so the sum stays.

    :param winning: the winning ticket, which gives the shapes
    :param survivors: tensor name -> number of its survivors
    :returns: tensor name -> new number of survivors
    """
    slices = normalised_weights({name: tensor.shape for name, tensor in winning.start().items()})
    least = {name: math.prod(winning.masks[name].shape[dim] for dim in slices.get(name, ())) for name in survivors}
    least = {name: least[name] if name in slices else 0 for name in survivors}
    counts = {name: max(count, least[name]) for name, count in survivors.items()}
    for _ in range(sum(counts.values()) - sum(survivors.values())):
        richest = max(counts, key=lambda name: counts[name] - least[name])
        counts[richest] -= 1
    return counts


def _random_with_full_slices(
    shape: torch.Size, survivors: int, dims: tuple[int, ...], generator: torch.Generator
) -> torch.Tensor:
    order = torch.rand(shape, generator=generator, device="cpu")
    order = torch.where(highest_of_each_slice(order, dims), order + 1, order)
    mask = torch.zeros(shape.numel(), dtype=torch.bool, device="cpu")
    mask[order.reshape(-1).argsort(descending=True)[:survivors]] = True
    return mask.reshape(shape)
