"""Keeping pruned parameters at exactly zero while a network trains.

Masks live beside the model: nothing is added to it, so its state dict keeps its keys. Gradients of pruned
parameters are zeroed as they are accumulated, before anybody takes a norm; after each step of an optimizer that
does not leave zeros alone, the parameters themselves are.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from types import MappingProxyType, TracebackType

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import TensorWeakRef, WeakTensorKeyDictionary

from lottery_core.errors import OptimizerError, PrunedWeightAlive
from lottery_core.masking.guard import EraseBefore, zero_every_gradient
from lottery_core.masking.moments import SecondMoments, slowed_by_zeros
from lottery_core.masking.probing import preserves_zeros
from lottery_core.tickets import Masks, Ticket, require_same_shapes

# One keeper a parameter at a time: a second ticket on the same model replaces the first one's hooks.
_KEEPERS: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def _keeper_of(parameter: Tensor) -> MaskKeeper | None:
    reference = _KEEPERS.get(parameter)  # type: ignore[no-untyped-call]
    keeper: MaskKeeper | None = None if reference is None else reference()
    return keeper


def is_held(parameter: Tensor) -> bool:
    """Whether a keeper holds ``parameter`` at zero now, where it is pruned."""
    return _keeper_of(parameter) is not None


class Eraser:
    """Writes exactly +0.0 where a mask says pruned; never a product: inf x 0 is nan, and -1 x 0 is -0.0.

    On a CPU the floats' bits are and-ed with zeros or ones, twenty times faster than ``masked_fill_`` with bools
    (torch does not vectorise that) for 4 bytes a parameter held; elsewhere bools do, for 1 byte.

    :param mask: bool, True survives
    :param like: gives the device and the type
    """

    _INTEGERS = MappingProxyType({1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64})

    def __init__(self, mask: Tensor, like: Tensor) -> None:
        self._size = like.element_size()
        self._integer = self._INTEGERS[self._size]
        on_cpu = like.device.type == "cpu"
        self._bits = -mask.to(self._integer) if on_cpu else None  # all ones, or zero
        self._dead = None if on_cpu else ~mask.to(like.device)

    def __call__(self, values: Tensor) -> None:
        """Erase in place; ``values`` has the mask's shape and tracks no gradient."""
        if self._bits is None:
            assert self._dead is not None
            values.masked_fill_(self._dead, 0)
        elif values.element_size() == self._size:
            values.view(self._integer).bitwise_and_(self._bits)
        else:  # optimizer state of another precision
            values.masked_fill_(self._bits == 0, 0)


class MaskKeeper:
    """Holds masks over live parameters; a context manager, or :meth:`attach` and :meth:`detach`.

    :param parameters: name -> parameter, exactly those of the masks' pool
    :param masks: what survives
    :param optimizers: those that step these parameters
    :raises MismatchError: names or shapes differ; names the first tensor that does, and both shapes
    :raises OptimizerError: an optimizer with ``eps=0``, which divides zero by zero for pruned parameters
    """

    def __init__(
        self, parameters: Mapping[str, nn.Parameter], masks: Masks, optimizers: Sequence[Optimizer] = ()
    ) -> None:
        shapes = {name: parameter.shape for name, parameter in parameters.items()}
        require_same_shapes({name: mask.shape for name, mask in masks.items()}, shapes, "the ticket", "the model")
        self.masks = masks
        # Parameters are held weakly: their hooks hold the keeper, so it lives as long as its model, and no longer.
        references = {name: TensorWeakRef(parameter) for name, parameter in parameters.items()}
        self._parameters = list(references.values())
        self._optimizers = [weakref.ref(optimizer) for optimizer in optimizers]
        for optimizer in optimizers:
            check_optimizer(optimizer)
        # A tensor that survives whole costs nothing.
        self._held = [
            (name, references[name], Eraser(mask, parameters[name]))
            for name, mask in masks.items()
            if not bool(mask.all())
        ]
        self._handles: list[RemovableHandle] = []

    def attach(self) -> MaskKeeper:
        """Zero the pruned parameters and their optimizer state now, and keep them zero from here on."""
        self.detach()
        for parameter in _living(self._parameters):
            other = _keeper_of(parameter)
            if other is not None:
                other.detach()
            _KEEPERS[parameter] = weakref.ref(self)
        for _, parameter, eraser in self._living():
            self._handles.append(_register(parameter, self._zero_gradient(eraser)))
        self.enforce()
        self._zero_state()
        for reference in self._optimizers:
            optimizer = reference()
            if optimizer is None or not self._held:
                continue
            if not preserves_zeros(optimizer):
                self._handles.append(optimizer.register_step_post_hook(lambda *_: self.enforce()))
            elif slowed_by_zeros(optimizer):
                self._handles.append(optimizer.register_step_post_hook(self._lifted_moments()))
        return self

    def guard(self, model: nn.Module) -> None:
        """Also for algorithms that write parameters, or take gradients, without an optimizer (TRPO).

        From here to :meth:`detach` pruned parameters are erased right before every forward pass, and
        ``torch.autograd.grad`` gives zeros for them.

        :param model: whose modules own the parameters; attached already
        """
        held = {id(parameter): (parameter, eraser) for _, parameter, eraser in self._living()}
        for module in model.modules():
            mine = [held[id(own)] for own in module.parameters(recurse=False) if id(own) in held]
            if mine:
                self._handles.append(module.register_forward_pre_hook(EraseBefore(mine)))
        for name, parameter, _ in self._living():
            self._handles.append(zero_every_gradient(parameter, self.masks[name]))

    def detach(self) -> None:
        """Take the hooks off; doing it twice is fine. Training on without them brings pruned parameters back."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        for parameter in _living(self._parameters):
            if _keeper_of(parameter) is self:
                del _KEEPERS[parameter]

    @property
    def attached(self) -> bool:
        """Whether the hooks are on."""
        return bool(self._handles)

    def enforce(self) -> None:
        """Set every pruned parameter to exactly 0.0."""
        for _, parameter, eraser in self._living():
            eraser(parameter.data)

    def check(self) -> None:
        """:raises PrunedWeightAlive: a pruned parameter is not 0.0; names the first tensor"""
        for name, parameter, _ in self._living():
            alive = int(parameter.detach()[~self.masks[name].to(parameter.device)].count_nonzero())
            if alive:
                raise PrunedWeightAlive(f"{alive} pruned parameters of '{name}' are alive")

    def _lifted_moments(self) -> Callable[..., None]:
        moments = SecondMoments((parameter, self.masks[name]) for name, parameter, _ in self._living())
        steps = itertools.count()
        return lambda optimizer, *_: moments.lift(optimizer.state, next(steps))

    def _zero_state(self) -> None:
        optimizers = [optimizer for reference in self._optimizers if (optimizer := reference()) is not None]
        for _, parameter, eraser in self._living():
            for optimizer in optimizers:
                for value in optimizer.state.get(parameter, {}).values():
                    if isinstance(value, Tensor) and value.shape == parameter.shape:
                        eraser(value.data)

    def _living(self) -> Iterator[tuple[str, Tensor, Eraser]]:
        for name, reference, eraser in self._held:
            parameter = reference()
            if parameter is not None:
                yield name, parameter, eraser

    def _zero_gradient(self, eraser: Eraser) -> Callable[[Tensor], None]:
        # The hook holds the keeper, so that a keeper lives as long as its hooks and the next one finds it.
        def hook(parameter: Tensor, keeper: MaskKeeper = self) -> None:
            gradient = parameter.grad
            if gradient is None:
                return
            if gradient.is_sparse:
                raise OptimizerError("sparse gradients (nn.Embedding(sparse=True)) cannot be masked; use dense ones")
            eraser(gradient.data if gradient.requires_grad else gradient)

        return hook

    def __enter__(self) -> MaskKeeper:
        return self.attach()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.detach()


def _living(references: Sequence[TensorWeakRef]) -> list[Tensor]:
    return [parameter for reference in references if (parameter := reference()) is not None]


def _register(parameter: Tensor, hook: Callable[[Tensor], None]) -> RemovableHandle:
    # After the accumulation and before anybody clips; torch leaves this method untyped.
    handle: RemovableHandle = parameter.register_post_accumulate_grad_hook(hook)  # type: ignore[no-untyped-call]
    return handle


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
    :param model: on the device where it will train; its state dict keeps its keys
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
