"""The paper's networks and a narrower NatureCNN, as features extractors whose code is saved in a model's zip."""

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
    """An MLP that the policy and value heads share (arXiv 1906.02768, Table A1: MLP 128-128-128).

    Since SB3 1.8 ``net_arch`` builds two networks; a features extractor is how SB3 shares layers::

        policy_kwargs=dict(
            features_extractor_class=SharedTrunk,
            features_extractor_kwargs=dict(sizes=(128, 128, 128)),
            net_arch=[],
            ortho_init=False,
        )

    :param observation_space: observation space; observations are flattened
    :param sizes: units of each layer
    :param activation_fn: class of the activation after each layer
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
        """Map observations (batch, ...) to features (batch, ``sizes[-1]``)."""
        features: torch.Tensor = self.trunk(observations)
        return features


class PoolingCNN(BaseFeaturesExtractor):
    """The paper's network for Atari, which the policy and value heads share (arXiv 1906.02768, Table A1).

    Conv(5,64,1,2) MaxPool(2) Conv(5,64,1,2) MaxPool(2) Conv(3,64,1,1) MaxPool(2) Conv(3,64,1,1) MaxPool(2)
    MLP(1920-512-512) with ReLU, where Conv is (filter, channels, stride, padding). The 1920 = 64 x 6 x 5 features come
    from frames of 105 x 80 pixels, half the screen of 210 x 160::

        policy_kwargs=dict(features_extractor_class=PoolingCNN, net_arch=[], ortho_init=False)

    :param observation_space: space of images (channels, 105, 80)
    :param sizes: units of each layer after the convolutions
    :param channels: channels of each convolution; a shrunk network has fewer
    :raises ConfigError: the frames do not give 1920 features
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
        features = 64 * (shape[1] // 16) * (shape[2] // 16) if len(shape) == 3 else 0
        if features != self.features:
            # Imported here, since a saved zip takes this class to machines where this project is not installed.
            from lottery_core.errors import ConfigError

            raise ConfigError(
                f"the paper's CNN has 1920 features, from frames of 105 x 80 (--frame-size 105 80); "
                f"observations of shape {'x'.join(map(str, shape))} give {features}"
            )
        layers: list[nn.Module] = []
        width = shape[0]
        for size, (filters, padding) in zip(channels, ((5, 2), (5, 2), (3, 1), (3, 1)), strict=True):
            # ReLU and maximum commute, and ReLU after pooling costs a quarter.
            layers += [nn.Conv2d(width, size, filters, padding=padding), nn.MaxPool2d(2), nn.ReLU()]
            width = size
        layers.append(nn.Flatten())
        width *= self.features // 64
        for size in sizes:
            layers += [nn.Linear(width, size), nn.ReLU()]
            width = size
        self.trunk = nn.Sequential(*layers)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Map frames (batch, channels, 105, 80) in [0, 1] to features (batch, ``sizes[-1]``)."""
        features: torch.Tensor = self.trunk(observations)
        return features


class NarrowNatureCNN(NatureCNN):
    """SB3's NatureCNN with fewer channels, as :func:`sb3_lottery.shrink_policy` makes it.

    :param observation_space: space of images (channels, height, width)
    :param channels: channels of each convolution; SB3 has 32, 64, 64
    :param features_dim: units of the linear layer after the convolutions
    :param normalized_image: whether images are already normalised, see NatureCNN
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


# SB3 zips refer to classes by module; saved by value, they also load where this project is not installed.
cloudpickle.register_pickle_by_value(sys.modules[__name__])
