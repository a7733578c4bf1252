"""The paper's networks, and a narrower NatureCNN, as features extractors that a saved zip carries with it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import cloudpickle
import gymnasium
import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, NatureCNN
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


class PoolingCNN(BaseFeaturesExtractor):
    """The paper's network for Atari, which policy and value head share (PAPER, Table A1).

    Conv(5,64,1,2) MaxPool(2) Conv(5,64,1,2) MaxPool(2) Conv(3,64,1,1) MaxPool(2) Conv(3,64,1,1) MaxPool(2)
    MLP(1920-512-512) with ReLU; Conv(filter, channels, stride, padding). The 1920 = 64 x 6 x 5 come from frames of
    105 x 80 pixels: the screen of 210 x 160 halved::

        policy_kwargs=dict(features_extractor_class=PoolingCNN, net_arch=[], ortho_init=False)

    :param observation_space: images (channels, 105, 80)
    :param sizes: units of each layer behind the convolutions
    :param channels: of each convolution; fewer in a network that was shrunk
    :raises ConfigError: frames of another size
    """

    features = 1920

    def __init__(
        self,
        observation_space: gymnasium.Space[Any],
        sizes: Sequence[int] = (512, 512),
        channels: Sequence[int] = (64, 64, 64, 64),
    ) -> None:
        super().__init__(observation_space, features_dim=sizes[-1])
        shape = observation_space.shape or ()
        found = 64 * (shape[1] // 16) * (shape[2] // 16) if len(shape) == 3 else 0
        if found != self.features:
            # Not at the top: a saved zip carries this class to where this project is not installed.
            from lottery_core.errors import ConfigError

            raise ConfigError(
                f"the paper's CNN has 1920 features, from frames of 105 x 80 (--frame-size 105 80); "
                f"observations of shape {'x'.join(map(str, shape))} give {found}"
            )
        layers: list[nn.Module] = []
        width = shape[0]
        for size, (filters, padding) in zip(channels, ((5, 2), (5, 2), (3, 1), (3, 1)), strict=True):
            # ReLU and maximum commute: after pooling it has a quarter of the work.
            layers += [nn.Conv2d(width, size, filters, padding=padding), nn.MaxPool2d(2), nn.ReLU()]
            width = size
        layers.append(nn.Flatten())
        width *= self.features // 64
        for size in sizes:
            layers += [nn.Linear(width, size), nn.ReLU()]
            width = size
        self.trunk = nn.Sequential(*layers)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Frames (batch, channels, 105, 80) in [0, 1] to features (batch, ``sizes[-1]``)."""
        features: torch.Tensor = self.trunk(observations)
        return features


class NarrowNatureCNN(NatureCNN):
    """SB3's NatureCNN with fewer channels: what :func:`sb3_lottery.shrink_policy` leaves of one.

    :param observation_space: images (channels, height, width)
    :param channels: of each convolution; SB3's are 32, 64, 64
    :param features_dim: units of the linear layer behind them
    :param normalized_image: see NatureCNN
    """

    def __init__(
        self,
        observation_space: gymnasium.spaces.Box,
        channels: Sequence[int] = (32, 64, 64),
        features_dim: int = 512,
        normalized_image: bool = False,
    ) -> None:
        super().__init__(observation_space, features_dim, normalized_image)
        width, last, first = observation_space.shape[0], self.cnn[4], self.linear[0]
        assert isinstance(last, nn.Conv2d)
        assert isinstance(first, nn.Linear)
        positions = first.in_features // last.out_channels
        for index, size in zip((0, 2, 4), channels, strict=True):
            old = self.cnn[index]
            assert isinstance(old, nn.Conv2d)
            self.cnn[index] = nn.Conv2d(width, size, (old.kernel_size[0], old.kernel_size[1]), old.stride[0])
            width = size
        self.linear[0] = nn.Linear(width * positions, features_dim)


# SB3 zips name their classes by module; by value, a zip also loads where this project is not installed.
cloudpickle.register_pickle_by_value(sys.modules[__name__])
