"""Following what an optimizer does: its steps, and state that is loaded into it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer


class _Wrapped:
    """A handle on ``optimizer.step`` of one object, for optimizers that torch's own hooks do not reach."""

    def __init__(self, optimizer: Optimizer, after: Callable[[Optimizer], None]) -> None:
        self._optimizer, self._plain, self._active = optimizer, optimizer.step, True
        self._own = optimizer.__dict__.get("step")

        def step(*args: Any, **kwargs: Any) -> Any:
            result = self._plain(*args, **kwargs)
            if self._active:
                after(optimizer)
            return result

        self._step = step
        optimizer.step = step  # type: ignore[method-assign]

    def remove(self) -> None:
        """Leave the optimizer as it was; where something has wrapped it since, only stop following it."""
        self._active = False
        if self._optimizer.__dict__.get("step") is self._step:
            if self._own is None:
                del self._optimizer.step
            else:
                self._optimizer.step = self._own  # type: ignore[method-assign]


def follow_steps(optimizer: Optimizer, after: Callable[[Optimizer], None]) -> Any:
    """Call ``after`` with the optimizer after each of its steps.

    torch's hook is used where the optimizer has it. Wrappers that never called ``Optimizer.__init__`` (Lookahead,
    Accelerate's) have none: then ``step`` of this one object is wrapped, as torch's learning-rate schedulers do.

    :param optimizer: any
    :param after: called after each step
    :returns: a handle with ``remove()``
    """
    if hasattr(optimizer, "_optimizer_step_post_hooks"):
        return optimizer.register_step_post_hook(lambda *_: after(optimizer))
    return _Wrapped(optimizer, after)


def follow_loading(optimizer: Optimizer, after: Callable[[Optimizer], None]) -> Any:
    """Call ``after`` with the optimizer when a state was loaded into it; ``None`` for one without torch's hooks.

    :param optimizer: any
    :param after: called after ``load_state_dict``
    :returns: a handle with ``remove()``, or ``None``
    """
    if hasattr(optimizer, "_optimizer_load_state_dict_post_hooks"):
        return optimizer.register_load_state_dict_post_hook(lambda *_: after(optimizer))
    return None
