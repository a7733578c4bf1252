"""The paper's networks, as features extractors that a saved zip carries with it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import cloudpickle
import gymnasium
import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn


class SharedTrunk(BaseFeaturesExtractor):
    """One MLP that policy and value head share (PAPER, Table A1: MLP 128-128-128).

    SB3's ``net_arch`` builds two networks since 1.8; a features extractor is its way to share layers::

        policy_kwargs=dict(
            features_extractor_class=SharedTrunk,
            features_extractor_kwargs=dict(sizes=(128, 128, 128)),
            net_arch=[],
            ortho_init=False,
        )

    :param observation_space: a vector; other shapes are flattened
    :param sizes: units of each layer
    :param activation_fn: after each layer
    """

    def __init__(
        self,
        observation_space: gymnasium.Space[Any],
        sizes: Sequence[int] = (128, 128, 128),
        activation_fn: type[nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__(observation_space, features_dim=sizes[-1])
        width = gymnasium.spaces.flatdim(observation_space)
        layers: list[nn.Module] = [nn.Flatten()]
        for size in sizes:
            layers += [nn.Linear(width, size), activation_fn()]
            width = size
        self.trunk = nn.Sequential(*layers)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Observations (batch, ...) to features (batch, ``sizes[-1]``)."""
        features: torch.Tensor = self.trunk(observations)
        return features


# SB3 zips name their classes by module; by value, a zip also loads where this project is not installed.
cloudpickle.register_pickle_by_value(sys.modules[__name__])
