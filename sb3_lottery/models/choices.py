"""The names that options of an agent accept: activations, optimizers, policies and CNNs."""

from __future__ import annotations

import torch
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from torch import nn

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "elu": nn.ELU, "gelu": nn.GELU}
OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "rmsprop-tf": RMSpropTFLike,
    "sgd": torch.optim.SGD,
}
AUTO = "auto"  # the policy that suits the observations
POLICIES = ("mlp", "cnn", "multi")
NATURE, POOLING = "nature", "pooling"
CNNS = {NATURE: "SB3's, of Mnih et al. 2015", POOLING: "the paper's, Table A1"}
