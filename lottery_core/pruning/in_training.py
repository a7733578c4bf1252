"""Pruning while a network trains: when its steps are due, and the masks after each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lottery_core.errors import ConfigError, RunError
from lottery_core.pruning.criteria import MAGNITUDE, Criterion, of_values_alone
from lottery_core.pruning.kinds import IN_TRAINING, InTraining
from lottery_core.pruning.selection import check_slices, rounded_to, select
from lottery_core.pruning.units import Layout, layout_of_ticket
from lottery_core.tickets import SEPARATE, Masks, Ticket, network_of_each

_ROUNDED = 1e-9  # a step is due although its share of the training was rounded


@dataclass(frozen=True)
class PruningSchedule:
    """When the steps of pruning in a training are due, evenly spaced.

    :param begin: share of the training after which pruning begins, in [0, 1)
    :param end: share of the training after which the last step is due, in (begin, 1]
    :param steps: number of steps of pruning, at least 1
    :raises ConfigError: a value is outside its range
    """

    begin: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        if not 0 <= self.begin < self.end <= 1:
            raise ConfigError(
                f"the schedule of pruning must begin and end at shares 0 <= BEGIN < END <= 1 of the training, not at "
                f"{self.begin:g} and {self.end:g}"
            )
        if self.steps < 1:
            raise ConfigError(f"the schedule of pruning must have at least 1 step, not {self.steps}")

    @classmethod
    def parse(cls, words: str | Sequence[object], option: str = "--gradual") -> PruningSchedule:
        """Parse a schedule.

        :param words: BEGIN, END and STEPS, as a sequence or separated by spaces
        :param option: name of the option, for messages
        :raises ConfigError: these are not two shares and a whole number, or a value is outside its range
        """
        parts = words.split() if isinstance(words, str) else None
        if parts is None:
            parts = [str(word) for word in words] if isinstance(words, Iterable) else [str(words)]
        try:
            begin, end, steps = parts
            return cls(float(begin), float(end), int(steps))
        except ValueError as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(
                f"{option} '{' '.join(parts)}' is not understood: give BEGIN END STEPS, two shares of the training and "
                f"a number of steps, e.g. {GRADUAL}"
            ) from error

    def __str__(self) -> str:
        return f"{self.begin:g} {self.end:g} {self.steps}"

    def due(self, share: float) -> int:
        """Return how many steps are due once a share of the training is done."""
        done = (share - self.begin) / (self.end - self.begin) * self.steps
        return max(0, min(self.steps, math.floor(done + _ROUNDED)))

    def for_kind(self, kind: InTraining, epochs: float) -> PruningSchedule:
        """Return the schedule of a kind: this one, unless the kind is pruned at the beginning of the training.

        :param kind: the kind
        :param epochs: length of the training in epochs
        """
        return PruningSchedule(0.0, min(1.0, kind.epoch_share / epochs), kind.steps) if kind.steps else self

    def check_fits(self, places: float, unit: str) -> None:
        """Check that the training has a place for each step.

        :param places: number of places in the whole training at which masks can change
        :param unit: what these places are, for the message, in the plural
        :raises ConfigError: there are fewer places between begin and end than steps
        """
        available = math.floor(places * (self.end - self.begin) + _ROUNDED)
        if available < self.steps:
            raise ConfigError(
                f"the schedule of pruning has {self.steps} steps, and between {self.begin:g} and {self.end:g} of the "
                f"training there are only {available} {unit}: train longer, or take fewer steps"
            )


GRADUAL = PruningSchedule(0.0, 0.75, 30)


class GradientSums:
    """Sums of gradient x value over updates; their magnitude is how much the loss depends on a parameter.

    The sum over several updates is that of one large batch, as far as the parameters have not moved.

    :param names: names of the tensors to sum for
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = set(names)
        self.values: dict[str, Tensor] = {}

    @torch.no_grad()
    def add(self, name: str, parameter: Tensor, gradient: Tensor | None = None) -> None:
        """Add the gradient x value of one tensor; call it right before an update.

        :param name: the tensor's name; others than those given are left out
        :param parameter: the tensor
        :param gradient: its gradient; by default ``parameter.grad``
        """
        gradient = parameter.grad if gradient is None else gradient
        if name not in self.names or gradient is None:
            return
        product = gradient.detach().float() * parameter.detach().float()
        self.values[name] = self.values[name].add_(product) if name in self.values else product

    def over(self, pool: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the sums for a pool: 0 for tensors that no gradient has reached.

        :param pool: tensors by name
        :raises RunError: no gradient has reached any of them
        """
        if not any(bool(value.any()) for value in self.values.values()):
            raise RunError("no gradient has reached the pool, so its parameters cannot be ranked by their gradients")
        return {name: self.values.get(name, torch.zeros_like(tensor)) for name, tensor in pool.items()}

    def clear(self) -> None:
        """Begin new sums, of the network as it is pruned now."""
        self.values.clear()


class PruningInTraining:
    """Finds the masks of a network while it trains; the caller holds them.

    :param kind: how many parameters are left after each step, and what ranks them
    :param schedule: when the steps are due
    :param pool: tensors of the pool by name, for their shapes
    :param survivors: number of parameters that survive in the end
    :param networks: tensor name -> its network, if each network keeps the same share; ``None`` for one pool
    :param rest: tensors outside the pool by name, for their shapes: a norm may divide a tensor of the pool
    :param layout: the units of the pool, if they are pruned whole; ``None`` if parameters are pruned one by one
    :param criterion: ranks the weights of a kind that is not pruned by its gradients
    :raises ConfigError: more should survive than there are
    :raises PruneError: fewer should survive than normalised weights have slices
    """

    def __init__(
        self,
        kind: InTraining,
        schedule: PruningSchedule,
        pool: Mapping[str, Tensor],
        survivors: int,
        networks: Mapping[str, str] | None = None,
        rest: Mapping[str, Tensor] | None = None,
        layout: Layout | None = None,
        criterion: Criterion = MAGNITUDE,
    ) -> None:
        self._rest = {name: tensor.to("meta") for name, tensor in (rest or {}).items()}
        self.kind, self.schedule, self.survivors, self.networks = kind, schedule, survivors, networks
        self.masks, self.layout = Masks.ones(pool), layout
        self.criterion = MAGNITUDE if kind.by_gradient else criterion
        self.done = 0  # steps of pruning
        if not 1 <= survivors <= self.masks.pool:
            raise ConfigError(f"cannot keep {survivors} parameters: the pool has {self.masks.pool}")
        if layout is None:
            check_slices({**self._rest, **pool}, self.masks, survivors)

    @classmethod
    def of(cls, ticket: Ticket, schedule: PruningSchedule, survivors: int) -> PruningInTraining:
        """Prepare to prune a ticket in which everything survives.

        :param ticket: the ticket; its kind is one of :data:`lottery_core.pruning.IN_TRAINING`
        :param schedule: when the steps are due
        :param survivors: number of parameters that survive in the end
        """
        networks = network_of_each(ticket.start()) if ticket.origin.scope_shares == SEPARATE else None
        kind, layout = IN_TRAINING[ticket.origin.kind], layout_of_ticket(ticket)
        criterion = of_values_alone(ticket.origin.criterion)
        return cls(kind, schedule, ticket.weights, survivors, networks, ticket.rest, layout, criterion)

    @property
    def complete(self) -> bool:
        """Whether the last step is done, so that the masks stay as they are."""
        return self.done == self.schedule.steps

    def is_due(self, share: float) -> bool:
        """Return whether another step is due once a share of the training is done."""
        return self.schedule.due(share) > self.done

    def prune(self, values: Mapping[str, Tensor], share: float) -> Masks:
        """Do the steps that are due, and return the masks.

        :param values: tensors by name that rank the parameters of the pool by their magnitude: the present weights, or
            the sums of gradient x value. Such sums are of the present masks, so they are used for a single step
        :param share: share of the training that is done
        :raises PruneError: a value is NaN or infinite
        """
        done = self.done + 1 if self.kind.by_gradient else self.schedule.due(share)
        count = self.kind.left(self.masks.pool, self.survivors, done / self.schedule.steps)
        # Weights rounded to fp16 or bf16 tie by the thousand: those that are pruned are spread over the pool.
        ties = None if rounded_to(values[name] for name in self.masks) is None else [0, 0]
        left = min(count, self.masks.surviving)
        self.masks = select(
            {**self._rest, **values},
            list(self.masks),
            self.masks,
            left,
            self.criterion,
            None,
            self.networks,
            ties,
            self.layout,
        )[0]
        self.done = done
        return self.masks

    def resume(self, masks: Masks, done: int) -> None:
        """Continue after some steps of an interrupted training.

        :param masks: the masks after them
        :param done: their number
        :raises RunError: the masks are not of this training
        """
        pool, now = self.masks, self.kind.left(self.masks.pool, self.survivors, done / self.schedule.steps)
        same = list(masks) == list(pool) and all(masks[name].shape == pool[name].shape for name in pool)
        counted = masks.surviving == now if self.layout is None else same and self.layout.are_whole(masks)
        if not same or not 0 <= done <= self.schedule.steps or not counted:
            raise RunError("the masks in the checkpoint are not those of this schedule of pruning", status=2)
        self.masks, self.done = masks, done
