"""The policy that suits the observations, and the arguments of its network."""

from __future__ import annotations

from typing import Any

import gymnasium
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import NatureCNN
from torch import nn

from lottery_core.errors import ConfigError
from sb3_lottery.models.choices import AUTO, POOLING
from sb3_lottery.models.settings import ModelSettings
from sb3_lottery.networks import PoolingCNN, SharedTrunk


def policy_kind(settings: ModelSettings, space: gymnasium.Space[Any]) -> str:
    """Return the kind of policy: ``"cnn"`` for images, ``"multi"`` for a ``Dict`` space, otherwise ``"mlp"``.

    :param settings: settings of the model, whose ``policy`` decides unless it is ``"auto"``
    :param space: observation space
    :raises ConfigError: the policy that was asked for does not suit the observations
    """
    is_dict = isinstance(space, gymnasium.spaces.Dict)
    # SB3 would also divide images of floats, or of values beyond 255, by 255.
    is_image = not is_dict and is_image_space(space)
    kind = settings.policy
    if kind == AUTO:
        kind = "multi" if is_dict else "cnn" if is_image else "mlp"
    need = "images (uint8, 0 to 255)" if kind == "cnn" else "a single array" if kind == "mlp" else "a Dict space"
    if {"cnn": not is_image, "mlp": is_dict, "multi": not is_dict}[kind]:
        shown = " ".join(str(space).split())[:80]
        raise ConfigError(f"the policy {kind} needs observations that are {need}; {settings.env} has {shown}")
    if kind == "multi" and settings.shared_trunk:
        raise ConfigError("--shared-trunk is for a single array of observations; MultiInputPolicy shares its extractor")
    return kind


def network_kwargs(settings: ModelSettings, kind: str, activation: type[nn.Module]) -> dict[str, Any]:
    """Return the part of ``policy_kwargs`` that defines the layers.

    ``net_arch`` lists the hidden layers; with a CNN, the layers after its convolutions: NatureCNN contains the first
    of them, PoolingCNN all of them. With ``None`` everything is SB3's default.

    :param settings: what the model is made from
    :param kind: kind of policy, see :func:`policy_kind`
    :param activation: class of the activation
    """
    kwargs: dict[str, Any] = {"activation_fn": activation}
    if settings.net_arch is None:
        return kwargs
    sizes = list(settings.net_arch)
    kwargs["net_arch"] = sizes
    if kind == "cnn" and settings.cnn == POOLING:
        kwargs |= {
            "features_extractor_class": PoolingCNN,
            "features_extractor_kwargs": {"sizes": sizes},
            "net_arch": [],
        }
    elif kind == "cnn":
        kwargs |= {
            "features_extractor_class": NatureCNN,
            "features_extractor_kwargs": {"features_dim": sizes[0]},
            "net_arch": sizes[1:],
        }
    elif kind == "mlp" and settings.shared_trunk and settings.algorithm.on_policy:
        kwargs |= {
            "features_extractor_class": SharedTrunk,
            "features_extractor_kwargs": {"sizes": sizes, "activation_fn": activation},
            "net_arch": [],
        }
    return kwargs
