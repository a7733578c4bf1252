"""Keep pruned parameters at exactly zero while a network trains.

Masks live beside the model: nothing is added to it, so its state dict keeps its keys. Gradients of pruned parameters
are zeroed when they are accumulated, before any norm is computed. If an optimizer does not preserve zeros, the
parameters themselves are zeroed after each of its steps.
"""

from __future__ import annotations

import itertools
import warnings
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import TensorWeakRef, WeakTensorKeyDictionary

from lottery_core.masking.guard import ModuleHook, callers, owners, zero_every_gradient
from lottery_core.masking.held import HeldMasks
from lottery_core.masking.optimizers import check_optimizer, preserves_zeros, slowed_by_zeros
from lottery_core.masking.steps import FIRST_LOOKS, Looks, follow_loading, follow_steps, with_inner
from lottery_core.tickets import Masks, Ticket, live_parameters, plain_names, require_same_shapes

# Only one keeper per parameter: a second ticket on the same model replaces the first one's hooks.
_KEEPERS: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def _keeper_of(parameter: Tensor) -> MaskKeeper | None:
    reference = _KEEPERS.get(parameter)  # type: ignore[no-untyped-call]
    keeper: MaskKeeper | None = None if reference is None else reference()
    return keeper


def is_held(parameter: Tensor) -> bool:
    """Return whether a keeper currently holds the pruned elements of ``parameter`` at zero."""
    return _keeper_of(parameter) is not None


class MaskKeeper:
    """Holds masks over live parameters; use it as a context manager, or call :meth:`attach` and :meth:`detach`.

    At the end of a ``with`` block the masks are checked, and a keeper that this one has replaced holds its own again.
    Gradients that do not come from ``backward()`` alone (``torch.autograd.grad``, noise that is added to them) are
    masked before each step of an optimizer; what writes parameters itself needs :meth:`guard`, or :meth:`enforce`
    afterwards.

    Frozen parameters (``requires_grad=False``) are zeroed too; their gradients are masked once they are unfrozen.
    Values that are loaded into the model or an optimizer while the masks are held are masked as well.

    :param parameters: name -> parameter, or all parameters that share its memory; exactly those of the masks' pool
    :param masks: which parameters survive
    :param optimizers: the optimizers that step these parameters
    :param model: the model whose modules own the parameters, so that values loaded into it are masked
    :raises MismatchError: names or shapes differ; the message names the first tensor that does, and both shapes
    :raises OptimizerError: an optimizer has an ``eps`` of 0, in the type of its parameters, so that it divides zero by
        zero for pruned ones
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter | Sequence[nn.Parameter]],
        masks: Masks,
        optimizers: Sequence[Optimizer] = (),
        model: nn.Module | None = None,
    ) -> None:
        same = {name: [each] if isinstance(each, Tensor) else list(each) for name, each in parameters.items()}
        shapes = {name: each[0].shape for name, each in same.items()}
        require_same_shapes({name: mask.shape for name, mask in masks.items()}, shapes, "the ticket", "the model")
        self.masks = masks
        self._held = HeldMasks(same, masks)
        # Includes parameters without pruned elements, because each parameter may have only one keeper.
        self._parameters = [TensorWeakRef(parameter) for each in same.values() for parameter in each]
        self._guarded: weakref.ref[nn.Module] | None = None
        self._preserving: dict[int, bool] = {}  # by the optimizer's id; trying one takes milliseconds
        self._optimizers = [weakref.ref(optimizer) for optimizer in optimizers]
        self._model = None if model is None else weakref.ref(model)
        for optimizer in optimizers:
            check_optimizer(optimizer)
        self._handles: list[Any] = []
        self._lifted: list[weakref.ref[Optimizer]] = []  # those whose second moments are kept away from zero
        self._frozen: set[str] = set()
        self._displaced: list[weakref.ref[MaskKeeper]] = []  # those whose hooks these have replaced
        self._foreign = False  # whether gradients come from elsewhere than their accumulation

    def attach(self) -> MaskKeeper:
        """Zero the pruned parameters and their optimizer state, and keep them zero until :meth:`detach`."""
        self.detach()
        for parameter in _living(self._parameters):
            other = _keeper_of(parameter)
            if other is not None:
                if other is not self:
                    self._displaced.append(weakref.ref(other))
                other.detach()
            _KEEPERS[parameter] = weakref.ref(self)
        for name, parameter in self._held.living():
            self._mask_gradients(name, parameter)
        self.enforce()
        for optimizer in _living_optimizers(self._optimizers):
            self._follow(optimizer)
        self._follow_modules()
        guarded = None if self._guarded is None else self._guarded()
        if guarded is not None:
            self.guard(guarded)
        return self

    def guard(self, model: nn.Module) -> None:
        """Also hold the masks for algorithms that write parameters or compute gradients without an optimizer (TRPO).

        While the masks are attached, pruned parameters are erased right before every forward pass, and
        ``torch.autograd.grad`` gives zeros for them.

        :param model: the model whose modules own the parameters; its masks must be attached already
        """
        self._guarded = weakref.ref(model)
        for caller, module, owned in callers(model, self._names()):
            erase = partial(self._erase_for, module)
            self._handles.append(caller.register_forward_pre_hook(ModuleHook(erase, owned)))
        for name, parameter in self._held.living():
            if parameter.requires_grad:
                self._handles.append(zero_every_gradient(parameter, self.masks[name]))

    def change(self, masks: Masks) -> None:
        """Hold other masks from now on; newly pruned parameters, their optimizer state and their gradients become 0.

        Call it between two updates.

        :param masks: masks of the same pool
        """
        self.detach()
        self.masks = masks
        self._held.change(masks)
        self.attach()
        self._held.zero_gradients()

    def detach(self) -> None:
        """Remove the hooks and what they left in optimizers; training without them brings pruned parameters back.

        Calling it twice is safe.
        """
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        for optimizer in _living_optimizers(self._lifted):
            self._held.zero_state(_state_of(optimizer))  # a file that is saved from now on has none of it
        self._lifted.clear()
        self._frozen.clear()
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

        :raises PrunedWeightAlive: a pruned parameter is not 0.0, or was replaced by a tensor that is not masked; the
            message names the first one
        """
        model = None if self._model is None else self._model()
        if model is not None:
            plain, every = plain_names(model), model.named_parameters(remove_duplicate=False)
            self._held.check_are_those({plain(name): parameter for name, parameter in every})
        self._held.check()

    def _names(self) -> dict[int, str]:
        return {id(parameter): name for name, parameter in self._held.living()}

    def _mask_gradients(self, name: str, parameter: Tensor) -> None:
        if not parameter.requires_grad:
            self._frozen.add(name)  # torch does not accept hooks for it yet
            return
        self._frozen.discard(name)
        eraser = self._held.eraser(name, parameter)

        # The hook references the keeper, so that a keeper lives as long as its hooks and the next one finds it.
        def zero_gradient(parameter: Tensor, keeper: MaskKeeper = self) -> None:
            nonlocal eraser
            if eraser.device != parameter.device:  # the model has been moved since
                eraser = keeper._held.eraser(name, parameter)
            keeper._held.zero_gradient(name, parameter, eraser)

        foreign = bool(parameter._post_accumulate_grad_hooks)
        handle = _register(parameter, zero_gradient)
        self._handles.append(handle)
        if foreign:
            # The user's hook may step an optimizer: mask the gradient before it, and the values after it.
            hooks: Any = parameter._post_accumulate_grad_hooks
            hooks.move_to_end(handle.id, last=False)
            self._handles.append(_register(parameter, lambda parameter: self._held.erase(name, parameter.data)))

    def _follow(self, optimizer: Optimizer) -> None:
        if not self._held:
            return
        if id(optimizer) not in self._preserving:
            self._preserving[id(optimizer)] = preserves_zeros(optimizer)
        preserving = self._preserving[id(optimizer)]
        self._zero_state(optimizer)
        looks = Looks()
        if hasattr(optimizer, "_optimizer_step_pre_hooks"):
            self._handles.append(optimizer.register_step_pre_hook(lambda *_: self._look_before(optimizer, looks)))
        if not preserving:
            self._handles.append(follow_steps(optimizer, lambda _: self.enforce()))
        else:
            self._handles.append(follow_steps(optimizer, lambda _: self._look_after(optimizer, looks)))
        if preserving and slowed_by_zeros(optimizer):
            self._handles.append(follow_steps(optimizer, self._lift_moments()))
            self._lifted.append(weakref.ref(optimizer))
        loading = follow_loading(optimizer, self._zero_state)
        if loading is not None:
            self._handles.append(loading)
        if self._frozen and hasattr(optimizer, "_optimizer_step_pre_hooks"):
            self._handles.append(optimizer.register_step_pre_hook(lambda *_: self._mask_unfrozen()))

    def _zero_state(self, optimizer: Optimizer) -> None:
        elementwise = self._preserving.get(id(optimizer), False)
        for each in with_inner(optimizer):
            self._held.zero_state(_state_of(each), elementwise)

    def _look_before(self, optimizer: Optimizer, looks: Looks) -> None:
        # Hooks see what is accumulated; a gradient that was set, or changed since, is found before the step.
        looks.begin()
        if looks.at_gradients and not self._foreign and self._held.has_gradient():
            self._foreign = True
            if looks.step >= FIRST_LOOKS and self._held.has_live():
                warnings.warn(
                    "pruned parameters have been trained by gradients that were set after the first steps (found at "
                    f"step {looks.step + 1:,}); they are 0 again, and such gradients are set to 0 from now on",
                    stacklevel=2,
                )
            self.enforce()
            self._zero_state(optimizer)
        if self._foreign:
            self._held.zero_gradients()
        # What something other than the optimizer has written is an error, not mended in silence.
        looks.clean = looks.at_values and not looks.revives and not self._held.has_live()

    def _look_after(self, optimizer: Optimizer, looks: Looks) -> None:
        # A closure has its gradients in the step; and an optimizer may begin to mix elements later than its trial saw.
        if not hasattr(optimizer, "_optimizer_step_pre_hooks"):
            looks.begin()
            looks.clean = looks.at_values
        live = looks.clean and self._held.has_live()
        if live and self._held.has_diverged():
            self.enforce()  # the optimizer has not revived them: clipping multiplies every gradient by NaN
        elif live:
            looks.revives = True
            name, step = type(optimizer).__name__, f"{looks.step + 1:,}"
            warnings.warn(
                f"a step of {name} has changed pruned parameters (found at step {step}); from now on they are set to 0 "
                "after each step",
                stacklevel=2,
            )
        if looks.revives or self._foreign:
            self.enforce()
            self._zero_state(optimizer)

    def _follow_modules(self) -> None:
        model = None if self._model is None else self._model()
        if model is None:
            return
        for module, owned in owners(model, self._names()):
            hook = ModuleHook(self._erase_loaded, owned)
            self._handles.append(module.register_load_state_dict_post_hook(hook))  # type: ignore[no-untyped-call]
        for caller, _, owned in callers(model, self._names()):
            if self._frozen.intersection(owned.values()):
                unfrozen = ModuleHook(lambda *_: self._mask_unfrozen(), owned)
                self._handles.append(caller.register_forward_pre_hook(unfrozen))

    def _mask_unfrozen(self) -> None:
        for name, parameter in self._held.living():
            if name in self._frozen and parameter.requires_grad:
                self._held.zero_gradient(name, parameter)
                self._mask_gradients(name, parameter)

    def _erase_for(self, owner: nn.Module, _: nn.Module, owned: Mapping[str, str]) -> None:
        self._erase_owned(owner, owned)

    def _erase_owned(self, module: nn.Module, owned: Mapping[str, str]) -> None:
        for attribute, name in owned.items():
            parameter = getattr(module, attribute)
            self._held.erase(name, parameter.data)

    def _erase_loaded(self, module: nn.Module, owned: Mapping[str, str]) -> None:
        self._erase_owned(module, owned)
        known = self._names()
        for attribute, name in owned.items():
            parameter = getattr(module, attribute)
            if known.get(id(parameter)) != name:  # load_state_dict(assign=True) has replaced the tensor
                self._held.replace(name, parameter)
                self._parameters.append(TensorWeakRef(parameter))
                _KEEPERS[parameter] = weakref.ref(self)
                self._mask_gradients(name, parameter)

    def _lift_moments(self) -> Callable[[Optimizer], None]:
        moments = self._held.second_moments()
        steps = itertools.count()
        return lambda optimizer: moments.lift(optimizer.state, next(steps))

    def __enter__(self) -> MaskKeeper:
        return self.attach()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.check()
        finally:
            self.detach()
            for reference in self._displaced:
                other = reference()
                if other is not None:
                    other.attach()
            self._displaced.clear()


def _state_of(optimizer: Optimizer) -> Mapping[Any, Any]:
    return getattr(optimizer, "state", None) or {}


def _living(references: Sequence[TensorWeakRef]) -> list[Tensor]:
    return [parameter for reference in references if (parameter := reference()) is not None]


def _living_optimizers(references: Sequence[weakref.ref[Optimizer]]) -> list[Optimizer]:
    return [optimizer for reference in references if (optimizer := reference()) is not None]


def _register(parameter: Tensor, hook: Callable[[Tensor], None]) -> RemovableHandle:
    # This runs after the accumulation and before any clipping; torch has no type hints for this method.
    handle: RemovableHandle = parameter.register_post_accumulate_grad_hook(hook)  # type: ignore[no-untyped-call]
    return handle


def apply_ticket(
    ticket: Ticket, model: nn.Module, *optimizers: Optimizer, ignore: Collection[str] = (), restart: bool = True
) -> MaskKeeper:
    """Start ``model`` from ``ticket``: set the start values, clear the optimizer state, and hold the masks from now on.

    Use it as ``with apply_ticket(ticket, model, optimizer): train(...)``, or keep the result while training;
    the masks are held until :meth:`MaskKeeper.detach`.

    :param ticket: a ticket of the same architecture
    :param model: the model on the device where it will train; its state dict keeps its keys
    :param optimizers: the optimizers that will step it; rewinding restores weights, not optimizer state (arXiv
        1906.02768, section 3.1)
    :param ignore: names of parameters of ``model`` that are not part of the ticket, e.g. of a target network
    :param restart: set the start values and clear the optimizers; ``False`` continues training a ticket from the
        current state of ``model``, and only holds the masks
    :raises MismatchError: the ticket belongs to another architecture; the message names the first differing tensor and
        both shapes. Or a parameter has no values yet, or shares memory with another one of another shape
    :raises OptimizerError: an optimizer's ``eps`` is 0 in the type of its parameters
    """
    ticket = ticket.named_for(model, ignore)
    parameters = live_parameters(model, ignore)
    pool = {name: parameters[name] for name in ticket.masks if name in parameters}
    if len(pool) < len(ticket.masks):
        ticket.require_fit_of(model, ignore)
    keeper = MaskKeeper(pool, ticket.masks, optimizers, model)
    if restart:
        ticket.load_into(model, ignore)
        for optimizer in (each for outer in optimizers for each in with_inner(outer)):
            if getattr(optimizer, "state", None):
                optimizer.state.clear()
    return keeper.attach()
