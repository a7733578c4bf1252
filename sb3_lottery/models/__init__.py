"""sb3_lottery.models."""

from sb3_lottery.models.algorithms import ALGORITHMS, algorithm, asks_for_masks, writes_beside_optimizers
from sb3_lottery.models.build import (
    ACTIVATIONS,
    OPTIMIZERS,
    ModelSettings,
    check_device,
    hyperparameters,
    make_model,
    policy_arguments,
    several_gpus,
)
from sb3_lottery.models.environments import check_environment, environment_line, make_env, request_of
from sb3_lottery.models.parameters import copy_to_targets, mask_targets, optimizers_of, target_names, weights_of
from sb3_lottery.models.policies import AUTO, CNNS, POLICIES
from sb3_lottery.models.scopes import algorithm_of, scope_words

__all__ = [
    "ACTIVATIONS",
    "ALGORITHMS",
    "AUTO",
    "CNNS",
    "ModelSettings",
    "OPTIMIZERS",
    "POLICIES",
    "algorithm",
    "algorithm_of",
    "asks_for_masks",
    "check_device",
    "check_environment",
    "copy_to_targets",
    "environment_line",
    "hyperparameters",
    "make_env",
    "make_model",
    "mask_targets",
    "optimizers_of",
    "policy_arguments",
    "request_of",
    "scope_words",
    "several_gpus",
    "target_names",
    "weights_of",
    "writes_beside_optimizers",
]
