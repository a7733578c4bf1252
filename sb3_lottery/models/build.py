"""From settings (plain JSON values) to a model of Stable-Baselines3, always the same way."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, get_args

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from lottery_core.errors import ConfigError, unknown_choice
from lottery_core.experiments.executors import visible_gpus
from lottery_core.pruning import derive_seed
from sb3_lottery.models import environments
from sb3_lottery.models import policies as architecture
from sb3_lottery.models.algorithms import algorithm
from sb3_lottery.models.schedules import is_schedule, schedule_of

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "elu": nn.ELU, "gelu": nn.GELU}
OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "rmsprop-tf": RMSpropTFLike,
    "sgd": torch.optim.SGD,
}
# Arguments of an algorithm that have an option of their own, or none.
_NOT_HYPERPARAMETERS = {"self", "policy", "env", "policy_kwargs", "seed", "device", "verbose", "tensorboard_log"}
_NOT_HYPERPARAMETERS |= {"_init_setup_model", "stats_window_size"}
_NOT_POLICY_KWARGS = {
    "self",
    "observation_space",
    "action_space",
    "lr_schedule",
    "activation_fn",
    "ortho_init",
}
_NOT_POLICY_KWARGS |= {"optimizer_class", "optimizer_kwargs", "features_extractor_class", "features_extractor_kwargs"}

# Settings that came after the first folders were written.
_LATER = {"policy_kwargs", "env_backend", "subproc", "frame_size", "clip_reward", "policy", "cnn", "normalize"}

# Where SB3 itself takes 0 and fails in the middle of the first training.
_AT_LEAST_ONE = {
    "n_steps", "batch_size", "n_epochs", "buffer_size", "train_freq", "policy_delay", "target_update_interval",
    "n_critic_updates", "cg_max_steps",
}  # fmt: skip


@dataclass(frozen=True)
class ModelSettings:
    """What a model is made from.

    :param algo: one of :data:`sb3_lottery.models.algorithms.ALGORITHMS`
    :param env: id of a gymnasium environment
    :param n_envs: environments side by side
    :param reward_scale: rewards are multiplied by it for training; the score is not
    :param net_arch: units of each hidden layer; ``None`` for SB3's own, which differ by algorithm
    :param shared_trunk: policy and value head share the hidden layers (the paper); else SB3's two networks.
        DQN and QRDQN have one network anyway
    :param activation: one of :data:`ACTIVATIONS`
    :param ortho_init: SB3's orthogonal start, which lets pruning kill the action head first (off: torch's own)
    :param optimizer: one of :data:`OPTIMIZERS`; ``None`` is the algorithm's own
    :param optimizer_kwargs: for it
    :param hyperparams: arguments of the algorithm; a number as ``action_noise`` is the standard deviation of
        Gaussian noise on actions that SB3 has scaled to [-1, 1]
    :param policy_kwargs: further arguments of the policy, e.g. ``lstm_hidden_size``
    :param device: ``"cpu"``, ``"cuda"``, ``"auto"``
    :param env_backend: who steps the environments, one of :data:`sb3_lottery.backends.BACKENDS`
    :param subproc: one process an environment (gymnasium only)
    :param frame_size: height and width of Atari frames; ``None`` is 84 x 84
    :param clip_reward: rewards are clipped to [-1, 1] for training; the score is not
    :param policy: ``"auto"`` (by the observations), ``"mlp"``, ``"cnn"``, ``"multi"``
    :param cnn: one of :data:`sb3_lottery.models.policies.CNNS`
    :param normalize: arguments of SB3's ``VecNormalize`` around the environments; ``None`` for none
    """

    algo: str
    env: str
    n_envs: int = 1
    reward_scale: float = 1.0
    net_arch: tuple[int, ...] | None = (64, 64)
    shared_trunk: bool = False
    activation: str = "relu"
    ortho_init: bool = False
    optimizer: str | None = None
    optimizer_kwargs: Mapping[str, Any] = field(default_factory=dict)
    hyperparams: Mapping[str, Any] = field(default_factory=dict)
    policy_kwargs: Mapping[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    env_backend: str = "gymnasium"
    subproc: bool = False
    frame_size: tuple[int, int] | None = None
    clip_reward: bool = False
    policy: str = "auto"
    cnn: str = "nature"
    normalize: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        row = algorithm(self.algo)
        for word, what, known in (
            (self.activation, "activation", ACTIVATIONS),
            (self.optimizer or "adam", "optimizer", OPTIMIZERS),
        ):
            if word not in known:
                raise unknown_choice(word, what, known)
        if self.n_envs < 1:
            raise ConfigError(f"--n-envs must be at least 1, not {self.n_envs}")
        if not math.isfinite(self.reward_scale) or self.reward_scale == 0:
            raise ConfigError(f"--reward-scale must be a number other than 0, not {self.reward_scale}")
        if self.net_arch is not None and (not self.net_arch or min(self.net_arch) < 1):
            raise ConfigError("--net-arch needs one or more layers of at least 1 unit")
        if self.optimizer_kwargs and self.optimizer is None:
            raise ConfigError("--optimizer-kwargs needs --optimizer")
        environments.check_words(self)
        architecture.check_words(self)
        if self.shared_trunk and row.two_networks:
            raise ConfigError(f"--shared-trunk is for algorithms with one optimizer, not for {row.title}")
        accepted = hyperparameters(self.algo)
        for name, value in self.hyperparams.items():
            if name not in accepted:
                raise unknown_choice(name, f"hyperparameter of {row.title}", accepted)
            default = accepted[name].default
            first = value[0] if name == "train_freq" and isinstance(value, (list, tuple)) and value else value
            if name in _AT_LEAST_ONE and isinstance(first, (int, float)) and first < 1:
                raise ConfigError(f"hyperparameter {name} must be at least 1, not {first}")
            if _is_whole(accepted[name]) and isinstance(value, float):
                raise ConfigError(f"hyperparameter {name} must be a whole number (SB3's: {default}), not {value}")
            if is_schedule(name, value) or (name == "train_freq" and isinstance(value, (list, tuple))):
                continue  # [4, 'step'] or [1, 'episode']
            if _is_number(accepted[name]) and not isinstance(value, (int, float)) and value != default:
                raise ConfigError(f"hyperparameter {name} must be a number (SB3's default is {default}), not '{value}'")
        for name in self.policy_kwargs:
            if name not in policy_arguments(self.algo):
                raise unknown_choice(name, f"argument of the policy of {row.title}", policy_arguments(self.algo))
        if not isinstance(self.policy_kwargs.get("net_arch", {}), Mapping):
            raise ConfigError("as policy argument net_arch is a dict, e.g. {'pi':[64],'vf':[64]}; else use --net-arch")

    def as_json(self) -> dict[str, Any]:
        """As plain values, see :meth:`from_json`. Left out at their default: settings that earlier folders lack."""
        values = {**asdict(self), "net_arch": None if self.net_arch is None else list(self.net_arch)}
        later = {entry.name: entry.default for entry in fields(self) if entry.name in _LATER}
        later["policy_kwargs"] = {}
        return {name: value for name, value in values.items() if name not in later or value != later[name]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ModelSettings:
        """The inverse of :meth:`as_json`."""
        sizes = {name: None if value.get(name) is None else tuple(value[name]) for name in ("net_arch", "frame_size")}
        return cls(**{**value, **sizes})


def _is_whole(parameter: inspect.Parameter) -> bool:
    kinds = _types(parameter)
    return int in kinds and kinds <= {int, type(None)}


def _is_number(parameter: inspect.Parameter) -> bool:
    return isinstance(parameter.default, (int, float)) or _types(parameter) <= {int, float, type(None)}


def _types(parameter: inspect.Parameter) -> set[Any]:
    return set(get_args(parameter.annotation)) or {parameter.annotation}


def hyperparameters(algo: str) -> dict[str, inspect.Parameter]:
    """The arguments of an algorithm that ``--hyperparams`` takes, by name."""
    parameters = inspect.signature(algorithm(algo).load().__init__).parameters
    return {name: parameter for name, parameter in parameters.items() if name not in _NOT_HYPERPARAMETERS}


def policy_arguments(algo: str) -> list[str]:
    """The arguments of an algorithm's policy that ``--policy-kwargs`` takes."""
    row = algorithm(algo)
    parameters = inspect.signature(row.load().policy_aliases[row.policy()].__init__).parameters
    return [name for name in parameters if name not in _NOT_POLICY_KWARGS]


def check_device(device: str) -> None:
    """:raises ConfigError: torch does not know ``device``, or has none here"""
    try:
        found = torch.device("cpu" if device == "auto" else device)
    except RuntimeError as error:
        raise ConfigError(f"unknown device '{device}': accepted: cpu, cuda, cuda:N, auto") from error
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"--device {device}: torch sees {torch.cuda.device_count()} GPUs here")


def several_gpus(device: str) -> list[str]:
    """The GPUs to spread runs over, as ``CUDA_VISIBLE_DEVICES`` names them; empty for one, none, or a chosen one."""
    gpus = visible_gpus() if device in ("cuda", "auto") else []
    return gpus if len(gpus) > 1 else []


def policy_kwargs(settings: ModelSettings, kind: str = "mlp") -> dict[str, Any]:
    """The ``policy_kwargs`` of ``settings``.

    :param kind: of policy, see :func:`sb3_lottery.models.policies.policy_kind`
    """
    kwargs = architecture.network_kwargs(settings, kind, ACTIVATIONS[settings.activation])
    if algorithm(settings.algo).on_policy:
        kwargs["ortho_init"] = settings.ortho_init
    if settings.optimizer is not None:
        kwargs["optimizer_class"] = OPTIMIZERS[settings.optimizer]
        if settings.optimizer_kwargs:  # SB3 has its own for Adam where there are none
            kwargs["optimizer_kwargs"] = dict(settings.optimizer_kwargs)
    return kwargs | dict(settings.policy_kwargs)


def make_model(settings: ModelSettings, seed: int, tensorboard_log: str | None = None) -> BaseAlgorithm:
    """A fresh model with its environment, seeded.

    :param settings: what it is made from
    :param seed: of everything: initialisation, actions, environments
    :param tensorboard_log: a folder for TensorBoard
    :raises ConfigError: Stable-Baselines3 or the optimizer refuses a value
    """
    # SB3 seeds environment i with seed + i: seeds 1 and 2 would share nearly all of their environments.
    seed = derive_seed("train", seed)
    env = environments.make_env(settings, seed)
    row = algorithm(settings.algo)
    try:
        kind = architecture.policy_kind(settings, env.observation_space)
        # The constructor's signature differs from algorithm to algorithm, so mypy cannot check the call.
        make: Any = row.load()
        return make(  # type: ignore[no-any-return]
            row.policy(kind),
            env,
            policy_kwargs=policy_kwargs(settings, kind),
            seed=seed,
            device=settings.device,
            tensorboard_log=tensorboard_log,
            **_hyperparams(settings, env),
        )
    except ConfigError:
        env.close()
        raise
    except (AssertionError, TypeError, ValueError, RuntimeError, MemoryError) as error:
        env.close()
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"cannot make {row.title} for {settings.env}: {reason}") from error


def _hyperparams(settings: ModelSettings, env: VecEnv) -> dict[str, Any]:
    found = {name: schedule_of(name, value) for name, value in settings.hyperparams.items()}
    if isinstance(found.get("train_freq"), list):
        found["train_freq"] = tuple(found["train_freq"])
    noise, shape = found.get("action_noise"), env.action_space.shape
    if isinstance(noise, (int, float)) and shape:
        found["action_noise"] = NormalActionNoise(np.zeros(shape), np.full(shape, float(noise)))
    return found
