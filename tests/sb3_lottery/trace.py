"""A callback that keeps what is noise in a training."""

from __future__ import annotations

import torch
from stable_baselines3.common.callbacks import BaseCallback


class Trace(BaseCallback):
    """The observations of every step, and the state of the generator that draws the actions."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[bytes] = []

    def _on_step(self) -> bool:
        self.seen += [self.locals["new_obs"].tobytes(), torch.get_rng_state().numpy().tobytes()]
        return True
