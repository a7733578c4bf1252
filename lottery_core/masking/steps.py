"""Follow an optimizer: its steps, and state that is loaded into it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import MethodType
from typing import Any

import torch
from torch.optim import Optimizer

# Steps at which gradients and values are looked at: so many first ones, and then one of so many.
FIRST_LOOKS, _VALUE_LOOKS, _LOOK_EVERY = 3, 32, 100


class _Wrapped:
    """A handle on the wrapped ``step`` of one optimizer, for optimizers without torch's hooks."""

    def __init__(
        self,
        optimizer: Optimizer,
        after: Callable[[Optimizer], None] | None = None,
        before: Callable[[Optimizer], None] | None = None,
    ) -> None:
        self._optimizer, self._plain, self._active = optimizer, optimizer.step, True
        self._own = optimizer.__dict__.get("step")

        def step(this: Optimizer, *args: Any, **kwargs: Any) -> Any:
            if this is not optimizer:  # a copy of it
                return type(this).step(this, *args, **kwargs)
            if self._active and before is not None:
                before(optimizer)
            result = self._plain(*args, **kwargs)
            if self._active and after is not None:
                after(optimizer)
            return result

        # A method, as torch's learning-rate schedules expect.
        self._step = MethodType(step, optimizer)
        optimizer.step = self._step  # type: ignore[method-assign]

    def remove(self) -> None:
        """Restore the original ``step``; if something else has wrapped it since, only stop following it."""
        self._active = False
        if self._optimizer.__dict__.get("step") is self._step:
            if self._own is None:
                del self._optimizer.step
            else:
                self._optimizer.step = self._own  # type: ignore[method-assign]


def follow_steps(optimizer: Optimizer, after: Callable[[Optimizer], None]) -> Any:
    """Call ``after`` with the optimizer after each of its steps.

    torch's hook is used if the optimizer has it. Wrappers that never called ``Optimizer.__init__`` (Lookahead,
    Accelerate's) have none; for them, ``step`` of this object is wrapped, as torch's learning-rate schedulers do.

    :param optimizer: any optimizer
    :param after: called after each step
    :returns: a handle with ``remove()``
    """
    if hasattr(optimizer, "_optimizer_step_post_hooks"):
        return optimizer.register_step_post_hook(lambda *_: after(optimizer))
    return _Wrapped(optimizer, after)


def follow_before_steps(optimizer: Optimizer, before: Callable[[Optimizer], None]) -> Any:
    """Call ``before`` with the optimizer before each of its steps, as :func:`follow_steps` does after it.

    :param optimizer: any optimizer
    :param before: called before each step
    :returns: a handle with ``remove()``
    """
    if hasattr(optimizer, "_optimizer_step_pre_hooks"):
        return optimizer.register_step_pre_hook(lambda *_: before(optimizer))
    return _Wrapped(optimizer, before=before)


def follow_loading(optimizer: Optimizer, after: Callable[[Optimizer], None]) -> Any:
    """Call ``after`` with the optimizer whenever a state was loaded into it, if it has torch's hooks.

    :param optimizer: any optimizer
    :param after: called after ``load_state_dict``
    :returns: a handle with ``remove()``, or ``None`` for an optimizer without torch's hooks
    """
    if hasattr(optimizer, "_optimizer_load_state_dict_post_hooks"):
        return optimizer.register_load_state_dict_post_hook(lambda *_: after(optimizer))
    return None


def with_inner(optimizer: Optimizer) -> Iterator[Optimizer]:
    """Yield an optimizer and those that it wraps (Lookahead, ``ZeroRedundancyOptimizer``), each once.

    :param optimizer: any optimizer
    """
    found, waiting = [optimizer], [optimizer]
    while waiting:
        for value in vars(waiting.pop()).values():
            for each in value if isinstance(value, list | tuple) else (value,):
                if isinstance(each, Optimizer) and not any(each is other for other in found):
                    found.append(each)
                    waiting.append(each)
    yield from found


class Looks:
    """When an optimizer is looked at: at its first steps, and then at one of many."""

    def __init__(self) -> None:
        self.step = -1  # the present one, from 0
        self._recorded = False  # whether it is recorded into a CUDA graph, which cannot wait for what is looked at
        self.clean = False  # whether the step began with every pruned parameter at 0
        self.revives = False  # whether a step has changed one

    def begin(self) -> None:
        """Count a step that begins."""
        self.step += 1
        on_gpu = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        self._recorded = on_gpu and torch.cuda.is_current_stream_capturing()

    @property
    def at_gradients(self) -> bool:
        """Whether gradients are looked at before this step."""
        return not self._recorded and (self.step < FIRST_LOOKS or self.step % _LOOK_EVERY == 0)

    @property
    def at_values(self) -> bool:
        """Whether values are looked at around this step."""
        return not self._recorded and (self.step < _VALUE_LOOKS or self.step % _LOOK_EVERY == 0)
