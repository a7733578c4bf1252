"""Keeping pruned parameters at exactly zero while a network trains.

Masks live beside the model: nothing is added to it, so its state dict keeps its keys. Gradients of pruned
parameters are zeroed as they are accumulated, before anybody takes a norm; after each optimizer step the
parameters themselves are, whatever the optimizer did.
"""

from __future__ import annotations

import weakref
from collections.abc import Collection, Iterable, Mapping
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import WeakTensorKeyDictionary

from lottery_core.errors import OptimizerError, PrunedWeightAlive
from lottery_core.masks import Masks
from lottery_core.ticket import Ticket
from lottery_core.weights import require_same_shapes

# One keeper a parameter at a time: a second ticket on the same model replaces the first one's hooks.
# Weak on both sides, or a finished model would live as long as the process.
_KEEPERS: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def _keeper_of(parameter: nn.Parameter) -> MaskKeeper | None:
    reference = _KEEPERS.get(parameter)
    return None if reference is None else reference()


class MaskKeeper:
    """Holds masks over live parameters; a context manager, or :meth:`attach` and :meth:`detach`.

    :param parameters: name -> parameter, exactly those of the masks' pool
    :param masks: what survives
    :param optimizers: those that step these parameters
    :raises MismatchError: names or shapes differ; names the first tensor that does, and both shapes
    :raises OptimizerError: an optimizer with ``eps=0``, which divides zero by zero for pruned parameters
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], masks: Masks, optimizers: Iterable[Optimizer] = ()) -> None:
        shapes = {name: parameter.shape for name, parameter in parameters.items()}
        require_same_shapes({name: mask.shape for name, mask in masks.items()}, shapes, "the ticket", "the model")
        self.masks = masks
        self._optimizers = list(optimizers)
        for optimizer in self._optimizers:
            check_optimizer(optimizer)
        # A tensor that survives whole costs nothing.
        self._dead: list[tuple[str, nn.Parameter, Tensor]] = [
            (name, parameters[name], ~mask.to(parameters[name].device))
            for name, mask in masks.items()
            if not bool(mask.all())
        ]
        self._handles: list[RemovableHandle] = []

    def attach(self) -> MaskKeeper:
        """Zero the pruned parameters and their optimizer state now, and keep them zero from here on."""
        self.detach()
        for _, parameter, dead in self._dead:
            other = _keeper_of(parameter)
            if other is not None:
                other.detach()
            _KEEPERS[parameter] = weakref.ref(self)
            self._handles.append(parameter.register_post_accumulate_grad_hook(_zero_gradient(dead)))
        self.enforce()
        self._zero_state()
        for optimizer in self._optimizers:
            self._handles.append(optimizer.register_step_post_hook(lambda *_: self.enforce()))
        return self

    def detach(self) -> None:
        """Take the hooks off; doing it twice is fine. Training on without them brings pruned parameters back."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        for _, parameter, _ in self._dead:
            if _keeper_of(parameter) is self:
                del _KEEPERS[parameter]

    @property
    def attached(self) -> bool:
        """Whether the hooks are on."""
        return bool(self._handles)

    @torch.no_grad()
    def enforce(self) -> None:
        """Set every pruned parameter to exactly 0.0."""
        for _, parameter, dead in self._dead:
            # masked_fill_, not a product: inf x 0 is nan, and -1 x 0 is -0.0.
            parameter.masked_fill_(dead, 0)

    def check(self) -> None:
        """:raises PrunedWeightAlive: a pruned parameter is not 0.0; names the first tensor"""
        for name, parameter, dead in self._dead:
            alive = int(torch.count_nonzero(parameter.detach()[dead]))
            if alive:
                raise PrunedWeightAlive(f"{alive} pruned parameters of '{name}' are alive")

    @torch.no_grad()
    def _zero_state(self) -> None:
        for _, parameter, dead in self._dead:
            for optimizer in self._optimizers:
                for value in optimizer.state.get(parameter, {}).values():
                    if isinstance(value, Tensor) and value.shape == parameter.shape:
                        value.masked_fill_(dead, 0)

    def __enter__(self) -> MaskKeeper:
        return self.attach()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.detach()


def _zero_gradient(dead: Tensor) -> Any:
    @torch.no_grad()
    def hook(parameter: Tensor) -> None:
        if parameter.grad is not None:
            if parameter.grad.is_sparse:
                raise OptimizerError("sparse gradients (nn.Embedding(sparse=True)) cannot be masked; use dense ones")
            parameter.grad.masked_fill_(dead, 0)

    return hook


def check_optimizer(optimizer: Optimizer) -> None:
    """:raises OptimizerError: ``eps=0``: the update of a pruned parameter would be 0 / 0"""
    for group in optimizer.param_groups:
        if group.get("eps", 1) == 0:
            name = type(optimizer).__name__
            raise OptimizerError(f"{name} with eps=0 turns pruned parameters into NaN (0 / 0): give it eps=1e-8")


def apply_ticket(
    ticket: Ticket, model: nn.Module, *optimizers: Optimizer, ignore: Collection[str] = (), restart: bool = True
) -> MaskKeeper:
    """Start ``model`` from ``ticket``: start values in, optimizer state cleared, masks held from now on.

    Use it as ``with apply_ticket(ticket, model, optimizer): train(...)``, or keep the result while training;
    the masks are held until :meth:`MaskKeeper.detach`.

    :param ticket: of the same architecture
    :param model: on any device; its state dict keeps its keys
    :param optimizers: those that will step it; rewinding restores weights, not optimizer state (PAPER 3.1)
    :param ignore: names of parameters of ``model`` that are no part of the ticket, e.g. of a target network
    :param restart: set the start values and clear the optimizer; ``False`` goes on training a ticket from where
        ``model`` is, and only holds the masks
    :raises MismatchError: the ticket is of another architecture; names the first differing tensor, both shapes
    :raises OptimizerError: an optimizer with ``eps=0``
    """
    parameters = dict(model.named_parameters())
    pool = {name: parameters[name] for name in ticket.masks if name in parameters}
    keeper = MaskKeeper(pool, ticket.masks, optimizers)
    if restart:
        ticket.load_into(model, ignore)
        for optimizer in optimizers:
            optimizer.state.clear()
    return keeper.attach()
