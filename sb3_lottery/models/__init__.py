"""Agents from plain settings: their algorithm, network, environments and parameters.

A row of :data:`ALGORITHMS` is all that the package knows about an algorithm of SB3 or sb3-contrib.
"""

from sb3_lottery.models.algorithms import ALGORITHMS, Algorithm, algorithm, needs_action_masks, writes_beside_optimizers
from sb3_lottery.models.build import check_device, make_model, several_gpus
from sb3_lottery.models.choices import ACTIVATIONS, AUTO, CNNS, NATURE, OPTIMIZERS, POLICIES
from sb3_lottery.models.environments import check_environment, environment_line, make_env, make_rendered_env
from sb3_lottery.models.hyperparameters import accepted_hyperparameters, accepted_policy_arguments, default_activation
from sb3_lottery.models.parameters import (
    bare_policy,
    copy_to_targets,
    mask_targets,
    optimizers_of,
    own_optimizers_of,
    target_names,
    weights_of,
)
from sb3_lottery.models.pretrained import Pretrained
from sb3_lottery.models.scopes import algorithm_of, checked_shares, scope_words
from sb3_lottery.models.settings import ModelSettings, with_few_environments
from sb3_lottery.models.trained import goes_on, holds_ticket, is_known, remember_ticket

__all__ = [
    "ACTIVATIONS",
    "ALGORITHMS",
    "AUTO",
    "Algorithm",
    "CNNS",
    "ModelSettings",
    "NATURE",
    "OPTIMIZERS",
    "POLICIES",
    "Pretrained",
    "algorithm",
    "algorithm_of",
    "bare_policy",
    "check_device",
    "check_environment",
    "checked_shares",
    "copy_to_targets",
    "default_activation",
    "environment_line",
    "goes_on",
    "holds_ticket",
    "is_known",
    "accepted_hyperparameters",
    "make_env",
    "make_model",
    "make_rendered_env",
    "mask_targets",
    "needs_action_masks",
    "optimizers_of",
    "own_optimizers_of",
    "accepted_policy_arguments",
    "remember_ticket",
    "scope_words",
    "several_gpus",
    "target_names",
    "weights_of",
    "with_few_environments",
    "writes_beside_optimizers",
]
