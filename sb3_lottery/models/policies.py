"""Which policy of SB3 suits the observations, and which network it gets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import NatureCNN
from torch import nn

from lottery_core.errors import ConfigError, unknown_choice
from sb3_lottery.models.algorithms import algorithm
from sb3_lottery.networks import PoolingCNN, SharedTrunk

if TYPE_CHECKING:
    from sb3_lottery.models.build import ModelSettings

AUTO = "auto"
POLICIES = ("mlp", "cnn", "multi")
CNNS = {"nature": "SB3's, of Mnih et al. 2015", "pooling": "the paper's, Table A1"}


def check_words(settings: ModelSettings) -> None:
    """:raises ConfigError: unknown policy or CNN"""
    if settings.policy != AUTO and settings.policy not in POLICIES:
        raise unknown_choice(settings.policy, "policy", [AUTO, *POLICIES])
    if settings.cnn not in CNNS:
        raise unknown_choice(settings.cnn, "CNN", CNNS)
    if settings.net_arch is None and (settings.shared_trunk or settings.cnn == "pooling"):
        raise ConfigError("--shared-trunk and --cnn pooling need the layers: --net-arch UNITS ...")


def policy_kind(settings: ModelSettings, space: gymnasium.Space[Any]) -> str:
    """``"cnn"`` for images, ``"multi"`` for observations of several parts, else ``"mlp"``.

    :param settings: whose ``policy`` decides unless it is ``"auto"``
    :param space: of the observations
    :raises ConfigError: the policy asked for does not fit the observations
    """
    parts = isinstance(space, gymnasium.spaces.Dict)
    # Images that are floats, or not of 0 to 255, would be divided by 255 all the same.
    image = not parts and is_image_space(space)
    kind = settings.policy
    if kind == AUTO:
        kind = "multi" if parts else "cnn" if image else "mlp"
    need = "images (uint8, 0 to 255)" if kind == "cnn" else "a single array" if kind == "mlp" else "a Dict space"
    if {"cnn": not image, "mlp": parts, "multi": not parts}[kind]:
        shown = " ".join(str(space).split())[:80]
        raise ConfigError(f"the policy {kind} needs observations that are {need}; {settings.env} has {shown}")
    if kind == "multi" and settings.shared_trunk:
        raise ConfigError("--shared-trunk is for a single array of observations; MultiInputPolicy shares its extractor")
    return kind


def network_kwargs(settings: ModelSettings, kind: str, activation: type[nn.Module]) -> dict[str, Any]:
    """The part of ``policy_kwargs`` that says which layers there are.

    ``net_arch`` are the hidden layers; of a CNN those behind its convolutions. NatureCNN has the first of them
    itself, PoolingCNN all. ``None`` leaves all of it to SB3.

    :param kind: see :func:`policy_kind`
    """
    kwargs: dict[str, Any] = {"activation_fn": activation}
    if settings.net_arch is None:
        return kwargs
    sizes = list(settings.net_arch)
    kwargs["net_arch"] = sizes
    if kind == "cnn" and settings.cnn == "pooling":
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
    elif kind == "mlp" and settings.shared_trunk and algorithm(settings.algo).on_policy:
        kwargs |= {
            "features_extractor_class": SharedTrunk,
            "features_extractor_kwargs": {"sizes": sizes, "activation_fn": activation},
            "net_arch": [],
        }
    return kwargs
