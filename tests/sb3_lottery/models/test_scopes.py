"""The scopes actor and critic."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import sb3_contrib
import stable_baselines3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from lottery_core import prune
from lottery_core.errors import ScopeError
from lottery_core.tickets import networks_of
from sb3_lottery.models.algorithms import algorithm
from sb3_lottery.models.parameters import weights_of
from sb3_lottery.models.scopes import checked_shares, scope_words
from sb3_lottery.networks import PoolingCNN, SharedTrunk


def test_words_of_a_scope() -> None:
    assert scope_words("all", algorithm("dqn")) == ("all",)
    assert scope_words(["actor", "x"], algorithm("td3")) == (r"^actor\.", "x")
    with pytest.raises(ScopeError, match="scope 'critic': QRDQN has no actor and critic"):
        scope_words("critic", algorithm("qrdqn"))


def test_shares_need_an_actor_and_a_critic() -> None:
    for name in ("ppo", "sac", "recurrentppo", "crossq"):
        assert checked_shares("separate", algorithm(name)) == "separate"
    assert checked_shares("together", algorithm("dqn")) == "together"
    with pytest.raises(ScopeError, match="scope shares 'separate': DQN has no actor and critic"):
        checked_shares("separate", algorithm("dqn"))


class Frames(gymnasium.Env[Any, Any]):
    """Observations of some shape, and nothing else."""

    def __init__(self, *shape: int) -> None:
        self.observation_space = gymnasium.spaces.Box(0, 255, shape, np.uint8)
        self.action_space = gymnasium.spaces.Discrete(4)


def agent(name: str, env: Any, policy: str = "MlpPolicy", **policy_kwargs: Any) -> BaseAlgorithm:
    """An untrained agent."""
    kind = getattr(stable_baselines3, name, None) or getattr(sb3_contrib, name)
    more = {"buffer_size": 9} if issubclass(kind, OffPolicyAlgorithm) else {}
    made: BaseAlgorithm = kind(policy, env, policy_kwargs=policy_kwargs, device="cpu", **more)
    return made


@pytest.mark.parametrize(
    ("words", "kwargs", "expected"),
    [
        ("A2C CartPole-v1", {}, {"actor": 4, "critic": 4}),
        ("A2C CartPole-v1", {"net_arch": []}, {"actor": 4, "critic": 4}),
        (
            "A2C CartPole-v1",
            {"features_extractor_class": SharedTrunk, "net_arch": []},
            {"actor": 4, "critic": 4, "shared": None},
        ),
        ("TRPO CartPole-v1", {}, {"actor": 4, "critic": 4}),
        ("RecurrentPPO CartPole-v1 MlpLstmPolicy", {"lstm_hidden_size": 8}, {"actor": None, "critic": None}),
        (
            "RecurrentPPO CartPole-v1 MlpLstmPolicy",
            {"lstm_hidden_size": 8, "shared_lstm": True, "enable_critic_lstm": False},
            {"actor": None, "critic": None, "shared": None},
        ),
        ("DQN CartPole-v1", {}, {"q_net": 4}),
        ("QRDQN CartPole-v1", {}, {"quantile_net": 4}),
        ("SAC Pendulum-v1", {"net_arch": [16, 16]}, {"actor": 3, "critic": 4}),
        ("TD3 Pendulum-v1", {"net_arch": [16, 16]}, {"actor": 3, "critic": 4}),
        ("TQC Pendulum-v1", {"net_arch": [16, 16]}, {"actor": 3, "critic": 4}),
        ("CrossQ Pendulum-v1", {"net_arch": [16, 16]}, {"actor": 3, "critic": 4}),
        ("PPO 36x36x3 CnnPolicy", {}, {"actor": 3, "critic": 3, "shared": None}),
        ("PPO 36x36x3 CnnPolicy", {"share_features_extractor": False}, {"actor": 3, "critic": 3}),
        (
            "PPO 4x105x80 CnnPolicy",
            {"features_extractor_class": PoolingCNN, "net_arch": []},
            {"actor": 4, "critic": 4, "shared": None},
        ),
        ("DQN 36x36x3 CnnPolicy", {}, {"q_net": 3}),
    ],
)
def test_networks_of_every_policy(words: str, kwargs: dict[str, Any], expected: dict[str, int | None]) -> None:
    """With nearly all weights left every input reaches an output; recurrent layers are only counted."""
    name, env, policy = [*words.split(), "MlpPolicy"][:3]
    model = agent(name, Frames(*map(int, env.split("x"))) if env[0].isdigit() else env, policy, **kwargs)
    weights = weights_of(model)
    ticket = prune(weights, weights, rate=0.02)
    found = networks_of(ticket.masks, ticket.rest)
    assert {network.name: network.inputs for network in found} == expected
    assert all(network.reaching == network.inputs for network in found)
    assert sum(network.surviving for network in found) == ticket.masks.surviving
