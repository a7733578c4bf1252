"""What a kind of ticket is: found by pruning in a chain of rounds, or a control made from the winning ticket."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lottery_core.tickets import Masks, Ticket, highest_of_each_slice, normalised_weights

DENSE = "dense"
FLOOR = "floor"  # no kind of ticket: the score without any learning, a row of the results
WINNING = "winning"
FRESH, REWIND, NOTHING = "fresh", "rewind", "nothing"
Values = Mapping[str, Tensor]


@dataclass(frozen=True)
class Chain:
    """A kind of ticket that is found by pruning trained weights.

    :param name: the kind's name, as options and files have it
    :param meaning: one line for people
    :param iterative: prune the trained ticket of the round before; otherwise the trained dense network, all at once
    :param rewinds: reset the survivors to the rewind point; otherwise to the initialisation
    """

    name: str
    meaning: str
    iterative: bool
    rewinds: bool


@dataclass(frozen=True)
class Control:
    """A kind of ticket that is made from the winning ticket of its round.

    :param name: the kind's name, as options and files have it
    :param meaning: one line for people
    :param make: masks and start values from the winning ticket, the values that the kind needs, and a random generator
    :param needs: which values: ``"fresh"`` (the model's own initialiser under another seed), ``"rewind"`` (all weights
        at the rewind point) or ``"nothing"`` (the winning ticket has all)
    """

    name: str
    meaning: str
    make: Callable[[Ticket, Values, torch.Generator], tuple[Masks, Values]]
    needs: str


Kind = Chain | Control


def shuffled_masks(winning: Ticket, generator: torch.Generator) -> Masks:
    """The winning masks with the entries of each tensor in random order; every tensor keeps its number of survivors."""
    return random_masks(winning, winning.masks.survivors(), generator)


def random_masks(winning: Ticket, survivors: Mapping[str, int], generator: torch.Generator) -> Masks:
    """Masks with random entries; a weight that is divided by the norm of each slice keeps one survivor in each.

    :param winning: gives the shapes
    :param survivors: tensor name -> how many of its entries survive
    :param generator: on the CPU, so that masks do not depend on the device
    """
    slices = normalised_weights({name: tensor.shape for name, tensor in winning.start().items()})
    result = {}
    for name, mask in winning.masks.items():
        if name in slices:
            result[name] = _random_with_full_slices(mask.shape, survivors[name], slices[name], generator)
            continue
        flat = torch.zeros(mask.numel(), dtype=torch.bool)
        flat[torch.randperm(mask.numel(), generator=generator)[: survivors[name]]] = True
        result[name] = flat.reshape(mask.shape)
    return Masks(result)


def with_full_slices(winning: Ticket, survivors: Mapping[str, int]) -> dict[str, int]:
    """Counts of survivors with enough for each slice of a normalised weight; what they gain, the largest others lose.

    :param winning: gives the shapes
    :param survivors: tensor name -> how many of its entries survive
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
    order = torch.rand(shape, generator=generator)
    order = torch.where(highest_of_each_slice(order, dims), order + 1, order)
    mask = torch.zeros(shape.numel(), dtype=torch.bool)
    mask[order.reshape(-1).argsort(descending=True)[:survivors]] = True
    return mask.reshape(shape)
