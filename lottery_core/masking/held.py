"""Masks held over live parameters: the part that all ways of training under a mask share."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import TensorWeakRef

from lottery_core.errors import OptimizerError, PrunedWeightAlive
from lottery_core.masking.eraser import Eraser
from lottery_core.masking.optimizers import SecondMoments
from lottery_core.tickets import Masks

_MOMENT = re.compile("avg|momentum|moment|buf")  # in the names of states that belong to the elements of a parameter


class HeldMasks:
    """Masks together with the parameters that they are held over.

    Parameters are referenced weakly, so that holding a mask does not keep a model alive. A tensor without pruned
    elements takes no extra memory or time. Each tensor has one eraser on its device; on a CPU, one for each element
    size. It is dropped when the parameter moves.

    :param parameters: name -> parameter, or all parameters that share the tensor's memory; must include every
        parameter in the masks' pool
    :param masks: masks that mark the surviving parameters
    """

    def __init__(self, parameters: Mapping[str, Tensor | Sequence[Tensor]], masks: Masks) -> None:
        self._pool = {name: [TensorWeakRef(parameter) for parameter in _as_list(parameters[name])] for name in masks}
        self.change(masks)

    def change(self, masks: Masks) -> None:
        """Hold other masks from now on; nothing is zeroed yet.

        :param masks: masks of the same pool
        """
        self.masks = masks
        self._references = {name: self._pool[name] for name, mask in masks.items() if not bool(mask.all())}
        self._erasers: dict[str, dict[int, Eraser]] = {name: {} for name in self._references}

    def __bool__(self) -> bool:
        return bool(self._references)

    def living(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the name and parameter of every tensor that has a pruned element and still exists."""
        for name, references in self._references.items():
            for reference in references:
                parameter = reference()
                if parameter is not None:
                    yield name, parameter

    def replace(self, name: str, parameter: Tensor) -> None:
        """Hold the mask of ``name`` over another tensor as well, which has replaced the previous one."""
        self._pool[name][:] = [reference for reference in self._pool[name] if reference() is not None]
        self._pool[name].append(TensorWeakRef(parameter))

    def eraser(self, name: str, like: Tensor) -> Eraser:
        """Return the object that erases the pruned elements of a tensor.

        :param name: the parameter's name
        :param like: a tensor with the device and type to erase on
        """
        size = like.element_size() if like.device.type == "cpu" else 0
        kept = self._erasers.get(name, {})
        eraser = kept.get(size)
        if eraser is None or eraser.device != like.device:
            eraser = Eraser(self.masks[name], like)
            if like.device == self._device(name):
                for other in [key for key, old in kept.items() if old.device != like.device]:
                    del kept[other]
                kept[size] = eraser
        return eraser

    def _device(self, name: str) -> torch.device | None:
        references = self._references.get(name, ())
        return next((each.device for reference in references if (each := reference()) is not None), None)

    def erase(self, name: str, values: Tensor) -> None:
        """Zero the pruned elements of ``name`` in place, in its values, a copy, a master, or optimizer state."""
        self.eraser(name, values)(values)

    def enforce(self) -> None:
        """Set every pruned parameter to exactly 0.0."""
        for name, parameter in self.living():
            self.erase(name, parameter.data)

    def enforce_once(self) -> None:
        """Do the same, slower but without keeping erasers, for a model that will move before it trains."""
        for name, parameter in self.living():
            parameter.data.masked_fill_(~self.masks[name].to(parameter.device), 0)

    def zero_gradient(self, name: str, parameter: Tensor, eraser: Eraser | None = None) -> None:
        """Zero the gradient of the pruned elements of one parameter, if it has a gradient.

        :param name: the parameter's name
        :param parameter: the parameter
        :param eraser: eraser for the gradient; looked up by default
        :raises OptimizerError: the gradient is sparse
        """
        gradient = parameter.grad
        if gradient is None:
            return
        if gradient.is_sparse:
            raise OptimizerError(
                f"the gradient of '{name}' is sparse (nn.Embedding(sparse=True)) and cannot be masked; use dense ones"
            )
        values = gradient.data if gradient.requires_grad else gradient
        if 0 in values.stride() and values.numel() > 1:  # an expanded tensor, whose elements share memory
            parameter.grad = values = values.clone(memory_format=torch.contiguous_format)
        if eraser is None or eraser.device != values.device:  # the model has been moved
            eraser = self.eraser(name, values)
        eraser(values)

    def zero_gradients(self) -> None:
        """Zero the gradients of all pruned parameters; call it before they are reduced, clipped or copied.

        :raises OptimizerError: a gradient is sparse
        """
        for name, parameter in self.living():
            self.zero_gradient(name, parameter)

    def has_gradient(self) -> bool:
        """Return whether a pruned parameter has a gradient other than 0."""
        for name, parameter in self.living():
            gradient = parameter.grad
            if gradient is not None and not gradient.is_sparse:
                dead = ~self.masks[name].to(gradient.device)
                if bool((gradient.detach() != 0).logical_and_(dead).any()):
                    return True
        return False

    def has_live(self) -> bool:
        """Return whether a pruned parameter is not 0.0."""
        for name, parameter in self.living():
            values = parameter.data
            dead = ~self.masks[name].to(values.device)
            if bool((values != 0).logical_and_(dead).any()):
                return True
        return False

    def has_diverged(self) -> bool:
        """Return whether pruned parameters are 0.0 or NaN, and survivors NaN or infinite: a NaN has spread to all."""
        diverged = False
        for name, parameter in self.living():
            values, mask = parameter.data, self.masks[name].to(parameter.device)
            dead = values[~mask]
            if not bool((dead == 0).logical_or_(dead.isnan()).all()):
                return False
            diverged = diverged or not bool(values[mask].isfinite().all())
        return diverged

    def zero_state(self, state: Mapping[Any, Any], elementwise: bool = True) -> None:
        """Zero an optimizer's state for pruned parameters, e.g. the momentum of a dense checkpoint.

        :param state: parameter -> tensors by name, as in ``torch.optim.Optimizer.state``
        :param elementwise: whether all tensors of a parameter's shape belong to its elements; otherwise (Shampoo, whose
            preconditioners of a square matrix have its shape) only those that are named as moments are
        """
        for name, parameter in self.living():
            own = state.get(parameter, {})
            for word, value in own.items() if isinstance(own, Mapping) else (("", own),):  # some keep a single tensor
                fits = isinstance(value, Tensor) and value.shape == parameter.shape and value.is_floating_point()
                if fits and (elementwise or _MOMENT.search(str(word))):
                    self.erase(name, value.data)

    def second_moments(self) -> SecondMoments:
        """Return an object that keeps the optimizer's second moments of pruned parameters away from zero."""
        return SecondMoments((parameter, self.masks[name]) for name, parameter in self.living())

    def check_are_those(self, parameters: Mapping[str, Tensor]) -> None:
        """Check that a model still has the parameters that the masks are held over.

        :param parameters: name -> parameter of the model; names that are none of the masks' are ignored
        :raises PrunedWeightAlive: a parameter was replaced by a tensor that is not masked
        """
        for name, references in self._references.items():
            if name in parameters and all(reference() is not parameters[name] for reference in references):
                raise PrunedWeightAlive(f"the parameter '{name}' was replaced by a tensor that is not masked")

    def check(self, hint: str = "") -> None:
        """Check that every pruned parameter is 0.0.

        :param hint: added to the message
        :raises PrunedWeightAlive: a pruned parameter is not 0.0, or was replaced by a tensor that is not masked; the
            message names the first one, and says so if the training has diverged
        """
        for name, references in self._references.items():
            if all(reference() is None for reference in references):
                raise PrunedWeightAlive(f"the parameter '{name}' is gone: whatever replaced it is not masked")
        for name, parameter in self.living():
            dead = ~self.masks[name].to(parameter.device)
            alive = int((parameter.detach() != 0).logical_and_(dead).sum())
            if alive and self.has_diverged():
                raise PrunedWeightAlive(
                    f"{alive} pruned parameters of '{name}' are NaN, and survivors are NaN or infinite as well: the "
                    "training has diverged"
                )
            if alive:
                raise PrunedWeightAlive(f"{alive} pruned parameters of '{name}' are alive{hint}")


def _as_list(parameters: Tensor | Sequence[Tensor]) -> Sequence[Tensor]:
    return [parameters] if isinstance(parameters, Tensor) else parameters
