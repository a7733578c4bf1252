"""What a kind of ticket is: found by pruning in a chain of rounds, or a control made from the winning ticket."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lottery_core.tickets import Masks, Ticket

DENSE = "dense"
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


def shuffled_masks(masks: Masks, generator: torch.Generator) -> Masks:
    """Masks with the entries of each tensor in random order, so that every tensor keeps its number of survivors."""
    return random_masks(masks, masks.survivors(), generator)


def random_masks(masks: Masks, survivors: Mapping[str, int], generator: torch.Generator) -> Masks:
    """Masks with random entries.

    :param masks: give the shapes
    :param survivors: tensor name -> how many of its entries survive
    :param generator: on the CPU, so that masks do not depend on the device
    """
    result = {}
    for name, mask in masks.items():
        flat = torch.zeros(mask.numel(), dtype=torch.bool)
        flat[torch.randperm(mask.numel(), generator=generator)[: survivors[name]]] = True
        result[name] = flat.reshape(mask.shape)
    return Masks(result)
