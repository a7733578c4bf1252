"""Save and restore loss scalers: fairseq's checkpoints keep too little of them to continue with the same updates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

# fairseq/optim/dynamic_loss_scaler.py:DynamicLossScaler; checkpoints keep only its scale, and nothing under --amp.
_COUNTERS = ("loss_scale", "_iter", "_last_overflow_iter", "_last_rescale_iter", "_overflows_since_rescale")


def scaler_state(optimizer: Any) -> dict[str, Any]:
    """Return the state of an optimizer's loss scaler: numbers by name, empty for an optimizer that scales nothing.

    :param optimizer: fairseq optimizer
    """
    scaler = getattr(optimizer, "scaler", None)
    if isinstance(scaler, torch.amp.GradScaler):
        return scaler.state_dict()
    return {name: getattr(scaler, name) for name in _COUNTERS if hasattr(scaler, name)}


def skips_step(optimizer: Any) -> bool:
    """Return whether ``--amp`` skips the step of an optimizer, because a gradient is not finite.

    fairseq calls the task's ``optimizer_step`` even then (``fairseq/trainer.py:train_step``).

    :param optimizer: fairseq optimizer, with the gradients of the step
    """
    scaler = getattr(optimizer, "scaler", None)
    if not isinstance(scaler, torch.amp.GradScaler) or not scaler.is_enabled():
        return False
    gradients = (parameter.grad for parameter in optimizer.params)
    return not all(bool(gradient.isfinite().all()) for gradient in gradients if gradient is not None)


def restore_scaler(optimizer: Any, state: Mapping[str, Any]) -> None:
    """Restore the state that an optimizer's loss scaler had when a checkpoint was written.

    :param optimizer: fairseq optimizer
    :param state: what :func:`scaler_state` returned; the state of another kind of scaler is ignored
    """
    scaler = getattr(optimizer, "scaler", None)
    if isinstance(scaler, torch.amp.GradScaler):
        if scaler.is_enabled() and scaler.state_dict().keys() == state.keys():
            scaler.load_state_dict(dict(state))
    elif scaler is not None and state.keys() == set(_COUNTERS):
        for name, value in state.items():
            setattr(scaler, name, value)
