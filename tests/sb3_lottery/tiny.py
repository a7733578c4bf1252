"""Every algorithm on an environment that costs nothing: networks of 8 units, episodes of 6 steps."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.monitor import Monitor

from sb3_lottery.models.algorithms import ALGORITHMS, algorithm

LENGTH = 6
_OBSERVATIONS: dict[str, spaces.Space[Any]] = {
    "mlp": spaces.Box(-1, 1, (3,), np.float32),
    "cnn": spaces.Box(0, 255, (1, 36, 36), np.uint8),
    "multi": spaces.Dict({"place": spaces.Box(-1, 1, (3,), np.float32), "mark": spaces.Discrete(2)}),
}


class Tiny(gymnasium.Env[Any, Any]):
    """The reward is the first number of the action.

    :param continuous: actions are two numbers in [-1, 1]; else one of three
    :param network: what the observation is for: ``"mlp"``, ``"cnn"`` or ``"multi"``
    """

    def __init__(self, continuous: bool = False, network: str = "mlp") -> None:
        self.observation_space = _OBSERVATIONS[network]
        self.action_space = spaces.Box(-1, 1, (2,), np.float32) if continuous else spaces.Discrete(3)
        self.steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        return self.observation_space.sample(), float(np.ravel(action)[0]), self.steps == LENGTH, False, {}


class Masked(Tiny):
    """The last action is never valid."""

    def action_masks(self) -> np.ndarray:
        return np.array([True, True, False])


class Broken(Tiny):
    """It lacks what it needs."""

    def __init__(self) -> None:
        raise RuntimeError("no licence for the simulator")


class SmallImage(Tiny):
    """Images of 7 x 7 pixels, as of MiniGrid."""

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = spaces.Box(0, 255, (7, 7, 3), np.uint8)


gymnasium.register("TinyImage-v0", SmallImage)
gymnasium.register("Broken-v0", Broken)
gymnasium.register("Tiny-v0", Tiny)
gymnasium.register("TinyContinuous-v0", Tiny, kwargs={"continuous": True})
gymnasium.register("TinyMasked-v0", Masked)

_REPLAY: dict[str, Any] = {
    "learning_starts": 8,
    "batch_size": 8,
    "buffer_size": 64,
    "train_freq": 3,
    "gradient_steps": 2,
}
_Q_NET: dict[str, Any] = {**_REPLAY, "target_update_interval": 12}
HYPERPARAMS: dict[str, dict[str, Any]] = {
    "a2c": {"n_steps": 6},
    "ppo": {"n_steps": 12, "batch_size": 6, "n_epochs": 2},
    "recurrentppo": {"n_steps": 12, "batch_size": 6, "n_epochs": 1},
    "maskableppo": {"n_steps": 12, "batch_size": 6, "n_epochs": 2},
    "trpo": {"n_steps": 12, "batch_size": 6, "n_critic_updates": 2, "cg_max_steps": 4},
    "dqn": _Q_NET,
    "qrdqn": {**_Q_NET, "max_grad_norm": 1.0},  # none by default
    **dict.fromkeys(("sac", "td3", "ddpg", "tqc", "crossq"), _REPLAY),
}
POLICY: dict[str, dict[str, Any]] = {
    "recurrentppo": {"lstm_hidden_size": 8},
    "qrdqn": {"n_quantiles": 5},
    "tqc": {"n_quantiles": 5},
}


def make(algo: str, seed: int = 0, network: str = "mlp", **policy_kwargs: Any) -> BaseAlgorithm:
    """A fresh agent of the algorithm, with 8-8 hidden units."""
    row = ALGORITHMS[algo]
    kind: Any = row.load()
    continuous = row.two_networks
    env = Monitor(Masked(network=network) if row.action_masks else Tiny(continuous, network))
    policy = {"net_arch": [8, 8], **POLICY.get(algo, {}), **policy_kwargs}
    if algorithm(algo).on_policy:
        policy.setdefault("ortho_init", False)
    kwargs = {"seed": seed, "device": "cpu", "learning_rate": 0.01, **HYPERPARAMS[algo]}
    model: BaseAlgorithm = kind(row.policy(network), env, policy_kwargs=policy, **kwargs)
    return model


class Punished(Masked):
    """An invalid action costs 100."""

    def step(self, action: Any) -> Any:
        observation, reward, *more = super().step(action)
        return observation, -100.0 if int(action) == 2 else reward, *more
