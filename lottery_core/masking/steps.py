"""Follow an optimizer: its steps, and state that is loaded into it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer


class _Wrapped:
    """A handle on the wrapped ``step`` of one optimizer, for optimizers without torch's hooks."""

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


def follow_loading(optimizer: Optimizer, after: Callable[[Optimizer], None]) -> Any:
    """Call ``after`` with the optimizer whenever a state was loaded into it, if it has torch's hooks.

    :param optimizer: any optimizer
    :param after: called after ``load_state_dict``
    :returns: a handle with ``remove()``, or ``None`` for an optimizer without torch's hooks
    """
    if hasattr(optimizer, "_optimizer_load_state_dict_post_hooks"):
        return optimizer.register_load_state_dict_post_hook(lambda *_: after(optimizer))
    return None
