"""The input features that a ticket still reads."""

from __future__ import annotations

import gymnasium
import pytest
import torch

from lottery_core import Masks
from sb3_lottery.analysis.inputs import feature_names, input_features, ticket_inputs
from tests.sb3_lottery import tiny
from tests.sb3_lottery.helpers import ticket_for


def test_a_lost_input_is_named() -> None:
    """A pruned column of every first layer; a critic reads the action behind the observation; keys name themselves."""
    observed = gymnasium.spaces.Dict(
        {"near": gymnasium.spaces.Box(-1, 1, (1,)), "far": gymnasium.spaces.Box(-1, 1, (2,))}
    )
    names = feature_names(observed)
    assert names == ["far[0]", "far[1]", "near"]
    actor, critic = torch.ones(5, 3, dtype=torch.bool), torch.ones(5, 4, dtype=torch.bool)
    actor[:, 1] = critic[:, 1] = critic[:, 3] = False
    hidden = torch.ones(4, 5, dtype=torch.bool)
    masks = Masks({"actor.0.weight": actor, "actor.2.weight": hidden, "critic.qf0.0.weight": critic})
    features = input_features(masks, names, actions=1)
    assert [(feature.name, feature.surviving, feature.lost) for feature in features] == [
        ("far[0]", 10, False),
        ("far[1]", 0, True),
        ("near", 10, False),
    ]
    image = gymnasium.spaces.Box(0, 255, (4, 84, 84), dtype="uint8")
    assert feature_names(image) == [f"channel {index}" for index in range(4)]
    assert feature_names(gymnasium.spaces.Box(-1, 1, (6,)), "Acrobot-v1")[4] == "angular velocity 1"
    assert feature_names(gymnasium.spaces.Box(-1, 1, (3,)), "CartPole-v1") == ["input 0", "input 1", "input 2"]


def test_what_reads_the_input_of_a_recurrent_policy() -> None:
    """The LSTM does; what stands behind it does not, though its state is as wide as the observation here."""
    model = tiny.make("recurrentppo", lstm_hidden_size=3)
    ticket = ticket_for(model, 0.5)
    found = input_features(ticket.masks, feature_names(model.observation_space))
    assert [feature.total for feature in found] == [2 * 4 * 3] * 3  # four gates of 3 units each, of actor and critic
    readers = [ticket.masks[f"lstm_{who}.weight_ih_l0"] for who in ("actor", "critic")]
    assert sum(feature.surviving for feature in found) == sum(int(mask.sum()) for mask in readers)


@pytest.mark.parametrize("name", ["a2c", "dqn", "sac", "td3", "recurrentppo", "crossq"])
def test_masks_alone_tell_what_the_model_tells(name: str) -> None:
    """The page counts readers without loading a model: the observation's width is read off the first layers."""
    model = tiny.make(name)
    ticket = ticket_for(model, 0.5)
    space, action = model.observation_space, model.action_space
    expected = input_features(ticket.masks, feature_names(space), action.shape[0] if action.shape else 0)
    found = ticket_inputs(ticket.masks, {})
    assert found == [(feature.name, feature.surviving, feature.total) for feature in expected]


def test_a_shared_trunk_is_read_and_not_what_follows_it() -> None:
    wide, narrow = torch.ones(8, 4, dtype=torch.bool), torch.ones(3, 8, dtype=torch.bool)
    trunk = {"features_extractor.trunk.1.weight": wide, "mlp_extractor.policy_net.0.weight": narrow}
    assert ticket_inputs(Masks(trunk), {"model": {"env": "CartPole-v1"}})[0] == ("cart position", 8, 8)
    image = {"features_extractor.cnn.0.weight": torch.ones(5, 4, 3, 3, dtype=torch.bool), "q_net.0.weight": narrow}
    assert ticket_inputs(Masks(image), {})[3] == ("channel 3", 45, 45)
    assert ticket_inputs(Masks({"q_net.q_net.0.weight": torch.ones(2, 512, dtype=torch.bool)}), {}) == []
    assert ticket_inputs(Masks({"action_net.bias": torch.ones(2, dtype=torch.bool)}), {"model": "HalfCheetah"}) == []
