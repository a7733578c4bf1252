"""The algorithms that ``--algo`` accepts, and how they differ: one row per algorithm."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from lottery_core.errors import ConfigError, OptimizerError, unknown_choice

SB3, CONTRIB = "stable_baselines3", "sb3_contrib"
_DISCRETE, _CONTINUOUS = ("Discrete",), ("Box",)
_COUNTABLE = ("Discrete", "MultiDiscrete", "MultiBinary")
_POLICIES = {"mlp": "MlpPolicy", "cnn": "CnnPolicy", "multi": "MultiInputPolicy"}
_LSTM_POLICIES = {"mlp": "MlpLstmPolicy", "cnn": "CnnLstmPolicy", "multi": "MultiInputLstmPolicy"}
# SB3's arguments for Adam if the user gives no optimizer_kwargs (common/policies.py).
_ON_POLICY_ADAM = {"eps": 1e-5}
_NO_OPTIMIZER = ("ars",)


@dataclass(frozen=True)
class Algorithm:
    """The properties by which an algorithm differs from the others.

    :param title: name of the class
    :param package: package of the class
    :param on_policy: whether it collects rollouts (A2C, PPO, ...) instead of filling a replay buffer
    :param actions: names of the action spaces that it accepts; empty for any
    :param two_networks: whether actor and critic are networks with an optimizer each
    :param policies: kind of network -> name of the policy class
    :param own_adam: arguments of its Adam optimizer if the user gives none
    :param action_masks: whether the environment must provide the valid actions
    """

    title: str
    package: str = SB3
    on_policy: bool = False
    actions: Collection[str] = ()
    two_networks: bool = False
    policies: Mapping[str, str] = field(default_factory=lambda: _POLICIES)
    own_adam: Mapping[str, Any] = field(default_factory=dict)
    action_masks: bool = False

    def load(self) -> type[BaseAlgorithm]:
        """Import the class.

        :raises ConfigError: its package is not installed
        """
        try:
            cls: type[BaseAlgorithm] = getattr(importlib.import_module(self.package), self.title)
        except ImportError as error:
            pip = self.package.replace("_", "-")
            raise ConfigError(f"{self.title} is in {pip}, which is not installed: pip install {pip}") from error
        return cls

    def policy(self, network: str = "mlp") -> str:
        """Return the name of the policy class for a kind of network.

        :param network: ``"mlp"``, ``"cnn"`` or ``"multi"``
        :raises ConfigError: the algorithm has no such policy (CrossQ only has MLPs)
        """
        if network not in self.policies:
            raise unknown_choice(network, f"network of {self.title}", self.policies)
        return self.policies[network]


def _actor_critic(title: str, package: str = SB3, **more: Any) -> Algorithm:
    return Algorithm(title, package, actions=_CONTINUOUS, two_networks=True, **more)


def _policy_gradient(title: str, package: str = SB3, **more: Any) -> Algorithm:
    return Algorithm(title, package, on_policy=True, **{"own_adam": _ON_POLICY_ADAM, **more})


ALGORITHMS: dict[str, Algorithm] = {
    "a2c": _policy_gradient("A2C"),
    "ppo": _policy_gradient("PPO"),
    "recurrentppo": _policy_gradient("RecurrentPPO", CONTRIB, policies=_LSTM_POLICIES),
    "maskableppo": _policy_gradient("MaskablePPO", CONTRIB, actions=_COUNTABLE, action_masks=True),
    "trpo": _policy_gradient("TRPO", CONTRIB),
    "dqn": Algorithm("DQN", actions=_DISCRETE),
    "qrdqn": Algorithm("QRDQN", CONTRIB, actions=_DISCRETE),
    "sac": _actor_critic("SAC"),
    "td3": _actor_critic("TD3"),
    "ddpg": _actor_critic("DDPG"),
    "tqc": _actor_critic("TQC", CONTRIB),
    "crossq": _actor_critic("CrossQ", CONTRIB, policies={"mlp": "MlpPolicy"}, own_adam={"betas": (0.5, 0.999)}),
}

# TRPO is not here: its line search writes parameters without an optimizer's step.
_STEPPED_BY_OPTIMIZERS = {row.title for row in ALGORITHMS.values()} - {"TRPO"}


def algorithm(word: str) -> Algorithm:
    """Return the row of an algorithm.

    :param word: a key of :data:`ALGORITHMS`
    :raises ConfigError: the algorithm is unknown; the message suggests similar names
    :raises OptimizerError: the algorithm has no optimizer (ARS)
    """
    if word in _NO_OPTIMIZER:
        raise no_optimizer(word.upper())
    if word not in ALGORITHMS:
        raise unknown_choice(word, "algorithm", ALGORITHMS)
    return ALGORITHMS[word]


def no_optimizer(title: str) -> OptimizerError:
    """Return the error for an algorithm without an optimizer.

    :param title: name of its class
    """
    return OptimizerError(f"{title} trains without an optimizer: tickets need one; accepted: {', '.join(ALGORITHMS)}")


def writes_beside_optimizers(model: BaseAlgorithm) -> bool:
    """Return whether ``model`` may write parameters outside an optimizer's step: TRPO, and any unknown algorithm."""
    return not any(kind.__name__ in _STEPPED_BY_OPTIMIZERS for kind in type(model).__mro__)


def needs_action_masks(model: BaseAlgorithm) -> bool:
    """Return whether ``model`` needs the valid actions for a prediction (MaskablePPO and its subclasses)."""
    titles = {row.title for row in ALGORITHMS.values() if row.action_masks}
    return any(kind.__name__ in titles for kind in type(model).__mro__)


def check_actions(row: Algorithm, env: VecEnv, name: str) -> None:
    """Check that an algorithm accepts the actions of an environment.

    :param row: the algorithm
    :param env: the environment, which is not changed
    :param name: id of the environment, for the message
    :raises ConfigError: the algorithm needs another kind of action space, or action masks that are missing
    """
    space = type(env.action_space).__name__
    if row.actions and space not in row.actions:
        kind = "continuous action space (Box)" if row.actions == _CONTINUOUS else "discrete action space"
        raise ConfigError(f"{row.title} needs a {kind}; {name} has {env.action_space}")
    if row.action_masks and not env.has_attr("action_masks"):
        raise ConfigError(
            f"{row.title} needs an environment with a method action_masks(); {name} has none "
            "(sb3_contrib.common.wrappers.ActionMasker adds one; use your own environment with --env MODULE:ID, where "
            "MODULE registers it with gymnasium)"
        )
