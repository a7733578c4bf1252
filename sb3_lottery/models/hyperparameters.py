"""The arguments of an algorithm and of its policy that a user may set, read from SB3's own signatures."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, get_args

from lottery_core.errors import ConfigError, unknown_choice
from sb3_lottery.models.algorithms import Algorithm
from sb3_lottery.models.schedules import is_schedule

# Arguments that have an option of their own, or none.
_NOT_HYPERPARAMETERS = {
    "self", "policy", "env", "policy_kwargs", "seed", "device", "verbose", "tensorboard_log", "_init_setup_model",
    "stats_window_size",
}  # fmt: skip
_NOT_POLICY_KWARGS = {
    "self", "observation_space", "action_space", "lr_schedule", "activation_fn", "ortho_init", "optimizer_class",
    "optimizer_kwargs", "features_extractor_class", "features_extractor_kwargs",
}  # fmt: skip

_LENGTHS = ("n_timesteps", "total_timesteps")  # in rl_zoo3's files and in learn()
# SB3 accepts 0 for these and fails in the middle of the first training.
_AT_LEAST_ONE = {
    "n_steps", "batch_size", "n_epochs", "buffer_size", "train_freq", "policy_delay", "target_update_interval",
    "n_critic_updates", "cg_max_steps",
}  # fmt: skip


def accepted_hyperparameters(algorithm: Algorithm) -> dict[str, inspect.Parameter]:
    """Return the arguments of an algorithm that ``--hyperparams`` accepts, by name.

    :param algorithm: a row of :data:`sb3_lottery.models.algorithms.ALGORITHMS`
    :raises ConfigError: its package is not installed
    """
    parameters = inspect.signature(algorithm.load().__init__).parameters
    return {name: parameter for name, parameter in parameters.items() if name not in _NOT_HYPERPARAMETERS}


def accepted_policy_arguments(algorithm: Algorithm) -> list[str]:
    """Return the names of the policy's arguments that ``--policy-kwargs`` accepts.

    :param algorithm: a row of :data:`sb3_lottery.models.algorithms.ALGORITHMS`
    :raises ConfigError: its package is not installed
    """
    return [name for name in _policy_signature(algorithm) if name not in _NOT_POLICY_KWARGS]


def default_activation(algorithm: Algorithm) -> type:
    """Return the class of the activation that the algorithm's policy uses by default.

    :param algorithm: a row of :data:`sb3_lottery.models.algorithms.ALGORITHMS`
    :raises ConfigError: its package is not installed
    """
    activation: type = _policy_signature(algorithm)["activation_fn"].default
    return activation


def _policy_signature(algorithm: Algorithm) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(algorithm.load().policy_aliases[algorithm.policy()].__init__).parameters


def check_hyperparameters(algorithm: Algorithm, values: Mapping[str, Any]) -> None:
    """Check the names of hyperparameters and the form of their values.

    :param algorithm: a row of :data:`sb3_lottery.models.algorithms.ALGORITHMS`
    :param values: name -> value
    :raises ConfigError: a name is unknown, or a value has the wrong type or is 0 where SB3 would fail later
    """
    accepted = accepted_hyperparameters(algorithm)
    for name, value in values.items():
        if name in _LENGTHS:
            raise ConfigError(
                f"{name} is not a hyperparameter here: the length of a run is --epoch timesteps:N times --epochs N"
            )
        if name not in accepted:
            raise unknown_choice(name, f"hyperparameter of {algorithm.title}", accepted)
        _check_at_least_one(name, value)
        _check_whole(name, value, accepted[name])
        if not is_schedule(name, value) and not _is_frequency(name, value):
            _check_number(name, value, accepted[name])


def check_policy_arguments(algorithm: Algorithm, values: Mapping[str, Any]) -> None:
    """Check the names of further policy arguments.

    :param algorithm: a row of :data:`sb3_lottery.models.algorithms.ALGORITHMS`
    :param values: name -> value
    :raises ConfigError: a name is unknown, or a value is a list of layers, which belongs to ``--net-arch``
    """
    accepted = accepted_policy_arguments(algorithm)
    for name in values:
        if name not in accepted:
            raise unknown_choice(name, f"argument of the policy of {algorithm.title}", accepted)
    if not isinstance(values.get("net_arch", {}), Mapping):
        raise ConfigError(
            "the policy argument net_arch must be a dict, e.g. {'pi':[64],'vf':[64]}; for a list of layers use "
            "--net-arch"
        )


def _is_frequency(name: str, value: Any) -> bool:
    # [4, 'step'] or [1, 'episode']
    return name == "train_freq" and isinstance(value, (list, tuple))


def _check_at_least_one(name: str, value: Any) -> None:
    count = value[0] if _is_frequency(name, value) and value else value
    if name in _AT_LEAST_ONE and isinstance(count, (int, float)) and count < 1:
        raise ConfigError(f"hyperparameter {name} must be at least 1, not {count}")


def _check_whole(name: str, value: Any, parameter: inspect.Parameter) -> None:
    types = _types(parameter)
    if int in types and types <= {int, type(None)} and isinstance(value, float):
        raise ConfigError(
            f"hyperparameter {name} must be a whole number (SB3's default is {parameter.default}), not {value}"
        )


def _check_number(name: str, value: Any, parameter: inspect.Parameter) -> None:
    default = parameter.default
    numeric = isinstance(default, (int, float)) or _types(parameter) <= {int, float, type(None)}
    if numeric and not isinstance(value, (int, float)) and value != default:
        raise ConfigError(f"hyperparameter {name} must be a number (SB3's default is {default}), not '{value}'")


def _types(parameter: inspect.Parameter) -> set[Any]:
    return set(get_args(parameter.annotation)) or {parameter.annotation}
