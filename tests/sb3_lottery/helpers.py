"""Tiny agents for the tests of the SB3 plugin: real environments, few steps."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import torch
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm

from lottery_core import Masks, Ticket, prune
from sb3_lottery.cli.options import parser
from sb3_lottery.cli.request import Request, request_of
from sb3_lottery.models.parameters import weights_of

ALGORITHMS: dict[str, tuple[Any, dict[str, Any]]] = {
    "a2c": (A2C, {"n_steps": 8}),
    "ppo": (PPO, {"n_steps": 32, "batch_size": 16, "n_epochs": 2}),
    "dqn": (DQN, {"learning_starts": 20, "train_freq": 4, "target_update_interval": 40, "buffer_size": 500}),
}


def request_for(words: str | Sequence[str]) -> Request:
    """The request of a command line of ``sb3-lottery``."""
    argv = shlex.split(words) if isinstance(words, str) else words
    return request_of(vars(parser().parse_args(argv)))


def make(algo: str = "ppo", seed: int = 0, env: Any = "CartPole-v1", **policy_kwargs: Any) -> BaseAlgorithm:
    """A fresh agent with 16-16 hidden units."""
    kind, kwargs = ALGORITHMS[algo]
    policy: dict[str, Any] = {"net_arch": [16, 16], **policy_kwargs}
    if algo != "dqn":
        policy.setdefault("ortho_init", False)
    return kind("MlpPolicy", env, policy_kwargs=policy, seed=seed, device="cpu", **kwargs)


def ticket_for(model: BaseAlgorithm, fraction: float = 0.6) -> Ticket:
    """A ticket from the model's weights as they are: mask x those weights."""
    weights = weights_of(model)
    return prune(weights, weights, fraction=fraction, rewind_point="init", seed=0)


def assert_dead(state: dict[str, torch.Tensor], masks: Masks, prefix: str = "") -> None:
    """Every pruned parameter in ``state`` is exactly +0.0."""
    for name, mask in masks.items():
        dead = state[prefix + name][~mask]
        assert not bool(dead.count_nonzero()), name
        assert not bool(torch.signbit(dead).any()), name


SMALL = (
    "--algo a2c --env CartPole-v1 --rounds 2 --prune-rate 0.5 --epoch timesteps:400 --epochs 2 --rewind epoch:1 "
    "--n-envs 2 --net-arch 16 16 --score-episodes 10 --no-floor"
)
