"""The kinds of ticket: the winning one and its controls, each a small function.

Sources: random as in PAPER 3.1 (its last section fixes what the paper leaves open); permuted and shuffled as in
Vischer et al. (arXiv 2105.01648); reinit as in Frankle & Carbin (arXiv 1803.03635).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lottery_core.errors import ConfigError, unknown_choice
from lottery_core.tickets import Masks, Origin, Ticket, Weights, require_same_shapes

DENSE = "dense"
WINNING = "winning"


def derive_seed(*parts: object) -> int:
    """A seed of 31 bits from words and numbers, the same on every machine; 31 bits suit numpy and gymnasium too."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big") >> 1


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)  # on the CPU: the same masks whatever the device


def _shuffled_masks(masks: Masks, generator: torch.Generator) -> Masks:
    return _masks_with({name: (mask, int(mask.sum())) for name, mask in masks.items()}, generator)


def _masks_with(counts: Mapping[str, tuple[Tensor, int]], generator: torch.Generator) -> Masks:
    result = {}
    for name, (like, survivors) in counts.items():
        flat = torch.zeros(like.numel(), dtype=torch.bool)
        flat[torch.randperm(like.numel(), generator=generator)[:survivors]] = True
        result[name] = flat.reshape(like.shape)
    return Masks(result)


Values = Mapping[str, Tensor]


def random(winning: Ticket, start: Values, generator: torch.Generator) -> tuple[Masks, Values]:
    """The paper's random ticket: mask entries shuffled within each tensor, fresh values."""
    return _shuffled_masks(winning.masks, generator), start


def reinit(winning: Ticket, start: Values, generator: torch.Generator) -> tuple[Masks, Values]:
    """The winning mask with fresh values."""
    return winning.masks, start


def permuted(winning: Ticket, start: Values, generator: torch.Generator) -> tuple[Masks, Values]:
    """The winning mask; the survivors' rewound values change places within each tensor."""
    values = dict(winning.start())
    for name, mask in winning.masks.items():
        survivors = values[name][mask]
        values[name] = values[name].clone()
        values[name][mask] = survivors[torch.randperm(survivors.numel(), generator=generator)]
    return winning.masks, values


def shuffled(winning: Ticket, start: Values, generator: torch.Generator) -> tuple[Masks, Values]:
    """Mask entries shuffled within each tensor, with the values of the rewind point."""
    return _shuffled_masks(winning.masks, generator), start


def uniform(winning: Ticket, start: Values, generator: torch.Generator) -> tuple[Masks, Values]:
    """As many survivors as the winning ticket, drawn uniformly over the whole pool, fresh values."""
    import numpy

    sizes = [mask.numel() for mask in winning.masks.values()]
    seed = int(torch.randint(2**31, (), generator=generator))
    draw = numpy.random.default_rng(seed).multivariate_hypergeometric(
        sizes, winning.masks.surviving, method="marginals"
    )
    counts = zip(winning.masks.items(), draw.tolist(), strict=True)
    return _masks_with({name: (mask, count) for (name, mask), count in counts}, generator), start


FRESH, REWIND, NOTHING = "fresh", "rewind", "nothing"


@dataclass(frozen=True)
class Control:
    """A kind of ticket made from the winning ticket of its round.

    :param make: the function that makes masks and start values
    :param needs: the values it starts from: ``"fresh"`` (the model's own initialiser under another seed),
        ``"rewind"`` (the whole rewind point) or ``"nothing"`` (the winning ticket has all)
    """

    make: Callable[[Ticket, Values, torch.Generator], tuple[Masks, Values]]
    needs: str

    @property
    def meaning(self) -> str:
        """One line for people."""
        return str(self.make.__doc__).strip()


CONTROLS: dict[str, Control] = {
    "random": Control(random, FRESH),
    "reinit": Control(reinit, FRESH),
    "permuted": Control(permuted, NOTHING),
    "shuffled": Control(shuffled, REWIND),
    "uniform": Control(uniform, FRESH),
}


@dataclass(frozen=True)
class Chain:
    """A kind of ticket that is found by pruning trained weights.

    :param iterative: prunes the trained ticket of the round before; else the trained dense network, all at once
    :param rewinds: survivors go back to the rewind point; else to the initialisation
    :param meaning: one line for people
    """

    iterative: bool
    rewinds: bool
    meaning: str


CHAINS: dict[str, Chain] = {
    WINNING: Chain(True, True, "Iterative pruning with late rewinding: the paper's winning ticket."),
    "one-shot": Chain(False, True, "The dense network pruned to the round's count at once, then rewound."),
    "no-rewind": Chain(True, False, "Iterative pruning, survivors reset to their initialisation."),
}

KINDS: tuple[str, ...] = (*CHAINS, *CONTROLS)


def check_kind(kind: str) -> str:
    """:raises ConfigError: no such kind; names the near ones"""
    if kind not in KINDS:
        raise unknown_choice(kind, "kind of ticket", KINDS)
    return kind


def control_ticket(
    kind: str, winning: Ticket, seed: int, *, fresh: Weights | None = None, rewind: Weights | None = None
) -> Ticket:
    """The control of ``kind`` for the ``winning`` ticket of a round: as many survivors, another mask or start.

    :param kind: one of :data:`CONTROLS`
    :param winning: the winning ticket
    :param seed: of the shuffles; the same seed gives the same control, bit for bit
    :param fresh: weights drawn by the model's own initialiser under another seed (random, reinit, uniform)
    :param rewind: weights at the rewind point (shuffled)
    :raises ConfigError: unknown kind, or the weights it needs are not given
    :raises MismatchError: the weights are of another architecture
    """
    if kind not in CONTROLS:
        raise unknown_choice(kind, "control", CONTROLS)
    needs = CONTROLS[kind].needs
    source = {FRESH: fresh, REWIND: rewind, NOTHING: None}[needs]
    if source is None and needs != NOTHING:
        raise ConfigError(f"a ticket of kind '{kind}' needs {needs} weights: give {needs}=")
    if source is not None:
        mine = {name: tensor.shape for name, tensor in winning.start().items()}
        found = {name: tensor.shape for name, tensor in source.tensors.items()}
        require_same_shapes(mine, found, "the winning ticket", source.source)
    masks, start = CONTROLS[kind].make(winning, {} if source is None else source.tensors, _generator(seed))
    origin = Origin(
        kind=kind,
        round=winning.origin.round,
        scope=winning.origin.scope,
        prune_rate=winning.origin.prune_rate,
        rewind=winning.origin.rewind if needs != FRESH else "fresh",
        seed=seed,
        parent=winning.digest,
    )
    return Ticket.of(masks, start, origin)
