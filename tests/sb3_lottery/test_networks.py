"""Images, dictionaries, shared features extractors, actor and critic apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from lottery_core import Masks, Ticket, read_weights
from lottery_core.errors import ConfigError, OptimizerError
from sb3_lottery import LotteryCallback, PoolingCNN, find_tickets
from sb3_lottery.models.algorithms import ALGORITHMS
from sb3_lottery.models.parameters import weights_of
from tests.sb3_lottery.helpers import assert_dead, ticket_for
from tests.sb3_lottery.models.test_algorithms import EveryForwardPass, masks_of_targets
from tests.sb3_lottery.tiny import make


class SmallCnn(BaseFeaturesExtractor):
    """NatureCNN's form, a thousandth of its size."""

    def __init__(self, observation_space: spaces.Box) -> None:
        super().__init__(observation_space, features_dim=16)
        self.cnn = nn.Sequential(nn.Conv2d(1, 4, 8, stride=7), nn.ReLU(), nn.Flatten(), nn.Linear(100, 16), nn.ReLU())

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.cnn(observations)
        return features


SMALL = {"features_extractor_class": SmallCnn}
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    **{f"{algo}, images": (algo, "cnn", SMALL) for algo, row in ALGORITHMS.items() if "cnn" in row.policies},
    **{f"{algo}, dictionaries": (algo, "multi", {}) for algo, row in ALGORITHMS.items() if "multi" in row.policies},
    **{f"{algo}, shared": (algo, "cnn", {**SMALL, "share_features_extractor": True}) for algo in ("sac", "td3", "tqc")},
    "ppo, not shared": ("ppo", "cnn", {**SMALL, "share_features_extractor": False}),
    "recurrentppo, one LSTM": ("recurrentppo", "mlp", {"shared_lstm": True, "enable_critic_lstm": False}),
    "recurrentppo, no LSTM for the critic": ("recurrentppo", "mlp", {"enable_critic_lstm": False}),
}


@pytest.mark.parametrize("case", CASES)
def test_dead_in_every_kind_of_network(case: str, tmp_path: Path) -> None:
    algo, network, kwargs = CASES[case]
    model = make(algo, network=network, **kwargs)
    ticket = ticket_for(model, 0.6)
    masks = masks_of_targets(model.policy, ticket.masks)
    model.learn(12)
    look = EveryForwardPass(masks)
    model.learn(24, callback=[LotteryCallback(ticket), look])
    assert look.passes > 24
    assert_dead(model.policy.state_dict(), Masks(masks))
    state = model.policy.state_dict()
    assert any(not torch.equal(state[name], ticket.weights[name]) for name in ticket.masks)
    model.save(tmp_path / "m.zip")
    read = read_weights(tmp_path / "m.zip")
    weights_of(model).require_same_shapes(read)
    assert_dead(dict(read.tensors), ticket.masks)


def test_natures_network_on_images() -> None:
    model = make("ppo", network="cnn")
    ticket = ticket_for(model, 0.9)
    assert ticket.masks.pool > 60_000
    model.learn(12, callback=LotteryCallback(ticket))
    assert_dead(model.policy.state_dict(), ticket.masks)


@pytest.mark.parametrize(
    ("algo", "inside", "outside"),
    [
        ("sac", "actor.mu.weight", "critic.qf0.0.weight"),
        ("ppo", "action_net.weight", "value_net.weight"),
        ("recurrentppo", "lstm_actor.weight_hh_l0", "lstm_critic.weight_hh_l0"),
    ],
)
def test_actor_and_critic_apart(algo: str, inside: str, outside: str, tmp_path: Path) -> None:
    for scope, here, there in (("actor", inside, outside), ("critic", outside, inside)):
        found = find_tickets(
            lambda seed: make(algo, seed),
            tmp_path / scope,
            total_timesteps=24,
            rewind="init",
            rounds=1,
            prune_rate=0.5,
            kinds="winning",
            score_episodes=2,
            scope=scope,
            progress=False,
        )
        ticket = Ticket.load(found.ticket(1, "winning", 1))
        assert here in ticket.masks
        assert there in ticket.rest
        assert ticket.masks.pruned == round(0.5 * ticket.masks.pool)
        saved = read_weights(tmp_path / scope / "seed-1/winning/round-01/model.zip").tensors
        assert_dead(dict(saved), ticket.masks)
        assert bool(saved[there].count_nonzero() == saved[there].numel())


def test_running_statistics_are_no_part_of_the_pool(tmp_path: Path) -> None:
    model = make("crossq")
    model.save(tmp_path / "m.zip")
    for weights in (weights_of(model), read_weights(tmp_path / "m.zip")):
        names = weights.names()
        assert "actor.latent_pi.0.scale" in names
        assert not [name for name in names if name.endswith(("ra_mean", "ra_var", "steps"))]
    ticket, before = ticket_for(model), weights_of(model).tensors["critic.qf0.0.ra_mean"]
    model.learn(24)
    look = EveryForwardPass({name: ticket.masks[name] for name in ticket.masks})
    model.learn(6, callback=[LotteryCallback(ticket), look])
    assert torch.equal(look.state["critic.qf0.0.ra_mean"], before)


def test_an_algorithm_without_an_optimizer_is_refused_by_name(tmp_path: Path) -> None:
    from sb3_contrib import ARS

    def ars(seed: int) -> Any:
        return ARS("MlpPolicy", make("ppo").env, seed=seed, n_delta=2)

    with pytest.raises(OptimizerError, match="ARS trains without an optimizer: tickets need one; accepted: a2c, ppo"):
        find_tickets(ars, tmp_path / "x", total_timesteps=24, progress=False)
    with pytest.raises(OptimizerError, match="ARS trains without an optimizer"):
        ars(0).learn(12, callback=LotteryCallback(ticket_for(make("ppo"))))
    assert not (tmp_path / "x").exists()


def test_the_papers_cnn_has_1920_features_and_says_so() -> None:
    net = PoolingCNN(gymnasium.spaces.Box(0, 255, (4, 105, 80), np.uint8))
    assert [tuple(layer.weight.shape) for layer in net.trunk if hasattr(layer, "weight")] == [
        (64, 4, 5, 5),
        (64, 64, 5, 5),
        (64, 64, 3, 3),
        (64, 64, 3, 3),
        (512, 1920),
        (512, 512),
    ]
    assert net(torch.rand(2, 4, 105, 80)).shape == (2, 512)
    with pytest.raises(ConfigError, match=r"frames of 105 x 80 .* observations of shape 4x84x84 give 1600"):
        PoolingCNN(gymnasium.spaces.Box(0, 255, (4, 84, 84), np.uint8))
