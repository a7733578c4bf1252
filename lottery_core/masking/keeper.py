"""Keeping pruned parameters at exactly zero while a network trains.

Masks live beside the model: nothing is added to it, so its state dict keeps its keys. Gradients of pruned parameters
are zeroed as they are accumulated, before anything takes a norm; after each step of an optimizer that does not preserve
zeros, the parameters themselves are.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from types import TracebackType

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import TensorWeakRef, WeakTensorKeyDictionary

from lottery_core.masking.guard import EraseBefore, zero_every_gradient
from lottery_core.masking.held import HeldMasks
from lottery_core.masking.optimizers import check_optimizer, preserves_zeros, slowed_by_zeros
from lottery_core.tickets import Masks, Ticket, require_same_shapes

# One keeper a parameter at a time: a second ticket on the same model replaces the first one's hooks.
_KEEPERS: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def _keeper_of(parameter: Tensor) -> MaskKeeper | None:
    reference = _KEEPERS.get(parameter)  # type: ignore[no-untyped-call]
    keeper: MaskKeeper | None = None if reference is None else reference()
    return keeper


def is_held(parameter: Tensor) -> bool:
    """Whether a keeper currently holds ``parameter`` at zero where it is pruned."""
    return _keeper_of(parameter) is not None


class MaskKeeper:
    """Holds masks over live parameters; a context manager, or :meth:`attach` and :meth:`detach`.

    :param parameters: name -> parameter, exactly those of the masks' pool
    :param masks: what survives
    :param optimizers: the optimizers that step these parameters
    :raises MismatchError: names or shapes differ; names the first tensor that does, and both shapes
    :raises OptimizerError: an optimizer with ``eps=0``, which divides zero by zero for pruned parameters
    """

    def __init__(
        self, parameters: Mapping[str, nn.Parameter], masks: Masks, optimizers: Sequence[Optimizer] = ()
    ) -> None:
        shapes = {name: parameter.shape for name, parameter in parameters.items()}
        require_same_shapes({name: mask.shape for name, mask in masks.items()}, shapes, "the ticket", "the model")
        self.masks = masks
        self._held = HeldMasks(parameters, masks)
        # Also those that survive whole: one keeper a parameter.
        self._parameters = [TensorWeakRef(parameter) for parameter in parameters.values()]
        self._optimizers = [weakref.ref(optimizer) for optimizer in optimizers]
        for optimizer in optimizers:
            check_optimizer(optimizer)
        self._handles: list[RemovableHandle] = []

    def attach(self) -> MaskKeeper:
        """Zero the pruned parameters and their optimizer state now, and keep them zero from here on."""
        self.detach()
        for parameter in _living(self._parameters):
            other = _keeper_of(parameter)
            if other is not None:
                other.detach()
            _KEEPERS[parameter] = weakref.ref(self)
        for name, parameter in self._held.living():
            self._handles.append(_register(parameter, self._zero_gradient(name, parameter)))
        self.enforce()
        for optimizer in _living_optimizers(self._optimizers):
            self._held.zero_state(optimizer.state)
            if not self._held:
                continue
            if not preserves_zeros(optimizer):
                self._handles.append(optimizer.register_step_post_hook(lambda *_: self.enforce()))
            elif slowed_by_zeros(optimizer):
                self._handles.append(optimizer.register_step_post_hook(self._lift_moments()))
        return self

    def guard(self, model: nn.Module) -> None:
        """Also hold the masks for algorithms that write parameters, or take gradients, without an optimizer (TRPO).

        From here to :meth:`detach` pruned parameters are erased right before every forward pass, and
        ``torch.autograd.grad`` gives zeros for them.

        :param model: the model whose modules own the parameters; attached already
        """
        held = {
            id(parameter): (parameter, self._held.eraser(name, parameter)) for name, parameter in self._held.living()
        }
        for module in model.modules():
            owned = [held[id(own)] for own in module.parameters(recurse=False) if id(own) in held]
            if owned:
                self._handles.append(module.register_forward_pre_hook(EraseBefore(owned)))
        for name, parameter in self._held.living():
            self._handles.append(zero_every_gradient(parameter, self.masks[name]))

    def detach(self) -> None:
        """Remove the hooks; doing it twice is fine. Training on without them brings pruned parameters back."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        for parameter in _living(self._parameters):
            if _keeper_of(parameter) is self:
                del _KEEPERS[parameter]

    @property
    def attached(self) -> bool:
        """Whether the hooks are in place."""
        return bool(self._handles)

    def enforce(self) -> None:
        """Set every pruned parameter to exactly 0.0."""
        self._held.enforce()

    def check(self) -> None:
        """Check that every pruned parameter is 0.0.

        :raises PrunedWeightAlive: one is not; names the first tensor
        """
        self._held.check()

    def _lift_moments(self) -> Callable[..., None]:
        moments = self._held.second_moments()
        steps = itertools.count()
        return lambda optimizer, *_: moments.lift(optimizer.state, next(steps))

    def _zero_gradient(self, name: str, parameter: Tensor) -> Callable[[Tensor], None]:
        eraser = self._held.eraser(name, parameter)

        # The hook references the keeper, so that a keeper lives as long as its hooks and the next one finds it.
        def hook(parameter: Tensor, keeper: MaskKeeper = self) -> None:
            keeper._held.zero_gradient(name, parameter, eraser)

        return hook

    def __enter__(self) -> MaskKeeper:
        return self.attach()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.detach()


def _living(references: Sequence[TensorWeakRef]) -> list[Tensor]:
    return [parameter for reference in references if (parameter := reference()) is not None]


def _living_optimizers(references: Sequence[weakref.ref[Optimizer]]) -> list[Optimizer]:
    return [optimizer for reference in references if (optimizer := reference()) is not None]


def _register(parameter: Tensor, hook: Callable[[Tensor], None]) -> RemovableHandle:
    # After the accumulation and before anything clips; torch leaves this method untyped.
    handle: RemovableHandle = parameter.register_post_accumulate_grad_hook(hook)  # type: ignore[no-untyped-call]
    return handle


def apply_ticket(
    ticket: Ticket, model: nn.Module, *optimizers: Optimizer, ignore: Collection[str] = (), restart: bool = True
) -> MaskKeeper:
    """Start ``model`` from ``ticket``: set the start values, clear the optimizer state, hold the masks from now on.

    Use it as ``with apply_ticket(ticket, model, optimizer): train(...)``, or keep the result while training;
    the masks are held until :meth:`MaskKeeper.detach`.

    :param ticket: a ticket of the same architecture
    :param model: the model on the device where it will train; its state dict keeps its keys
    :param optimizers: the optimizers that will step it; rewinding restores weights, not optimizer state (PAPER 3.1)
    :param ignore: names of parameters of ``model`` that are not part of the ticket, e.g. of a target network
    :param restart: set the start values and clear the optimizers; ``False`` continues the training of a ticket from
        where ``model`` is, and only holds the masks
    :raises MismatchError: the ticket belongs to another architecture; names the first differing tensor, both shapes
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
