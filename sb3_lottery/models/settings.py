"""The settings of an agent and its environments: plain JSON values, checked when they are made."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from stable_baselines3.common.vec_env import VecNormalize

from lottery_core.errors import ConfigError, unknown_choice
from lottery_core.experiments.executors import cores
from sb3_lottery.backends import GYMNASIUM, EnvRequest, check_backend, step_threads
from sb3_lottery.models.algorithms import Algorithm, algorithm
from sb3_lottery.models.choices import ACTIVATIONS, AUTO, CNNS, NATURE, OPTIMIZERS, POLICIES, POOLING
from sb3_lottery.models.hyperparameters import check_hyperparameters, check_policy_arguments

_A_FEW = 16  # environments
# Settings that folders of earlier versions lack: JSON leaves them out at their default.
_LATER = {"policy_kwargs", "env_backend", "subproc", "frame_size", "clip_reward", "policy", "cnn", "normalize"}


@dataclass(frozen=True)
class ModelSettings:
    """The settings from which a model and its environments are made.

    :param algo: one of :data:`sb3_lottery.models.algorithms.ALGORITHMS`
    :param env: id of a gymnasium environment
    :param n_envs: number of environments
    :param reward_scale: factor on the rewards in training; the score is not scaled
    :param net_arch: units of each hidden layer; ``None`` for SB3's own layers, which differ by algorithm
    :param shared_trunk: whether policy and value head share the hidden layers (arXiv 1906.02768, Table A1); otherwise
        they are SB3's two networks. DQN and QRDQN have one network in either case
    :param activation: one of :data:`sb3_lottery.models.choices.ACTIVATIONS`
    :param ortho_init: whether to use SB3's orthogonal initialisation, with which pruning removes the action head first;
        otherwise torch's own initialisation
    :param optimizer: one of :data:`sb3_lottery.models.choices.OPTIMIZERS`; ``None`` is the algorithm's own
    :param optimizer_kwargs: arguments of the optimizer
    :param hyperparams: arguments of the algorithm; a number as ``action_noise`` is the standard deviation of Gaussian
        noise on actions that SB3 has scaled to [-1, 1]
    :param policy_kwargs: further arguments of the policy, e.g. ``lstm_hidden_size``
    :param device: ``"cpu"``, ``"cuda"``, ``"cuda:N"`` or ``"auto"``
    :param env_backend: what steps the environments, one of :data:`sb3_lottery.backends.BACKENDS`
    :param subproc: whether to run one process per environment (gymnasium only)
    :param frame_size: height and width of Atari frames in pixels; ``None`` is 84 x 84
    :param clip_reward: whether to clip rewards to [-1, 1] in training; the score is not clipped
    :param policy: ``"auto"`` (by the observations), ``"mlp"``, ``"cnn"`` or ``"multi"``
    :param cnn: one of :data:`sb3_lottery.models.choices.CNNS`
    :param normalize: arguments of SB3's ``VecNormalize`` around the environments; ``None`` for no normalisation
    :param env_threads: threads of the backend that steps the environments; ``None``: by the number of environments and
        of cores. Not part of the JSON: it decides the speed of a run, not its bits
    :raises ConfigError: a value is invalid
    :raises OptimizerError: the algorithm has no optimizer (ARS)
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
    env_backend: str = GYMNASIUM
    subproc: bool = False
    frame_size: tuple[int, int] | None = None
    clip_reward: bool = False
    policy: str = AUTO
    cnn: str = NATURE
    normalize: Mapping[str, Any] | None = None
    env_threads: int | None = None

    def __post_init__(self) -> None:
        algorithm(self.algo)  # raises for an unknown algorithm
        _check_optimizer(self)
        _check_numbers(self)
        check_backend(self.env_backend, self.env_request)
        _check_normalize(self.normalize or {})
        _check_network(self)
        _check_layers(self)
        check_hyperparameters(self.algorithm, self.hyperparams)
        check_policy_arguments(self.algorithm, self.policy_kwargs)

    @property
    def algorithm(self) -> Algorithm:
        """The row of the algorithm."""
        return algorithm(self.algo)

    @property
    def env_request(self) -> EnvRequest:
        """The environments to ask a backend for."""
        return EnvRequest(
            env=self.env,
            n_envs=self.n_envs,
            reward_scale=self.reward_scale,
            clip_reward=self.clip_reward,
            frame_size=self.frame_size,
            subproc=self.subproc,
            threads=self.env_threads or step_threads(self.env_backend, self.env, self.n_envs, cores()),
        )

    def as_json(self) -> dict[str, Any]:
        """Return JSON values for :meth:`from_json`.

        Settings that folders of earlier versions lack are left out at their default.
        """
        values = {**asdict(self), "net_arch": None if self.net_arch is None else list(self.net_arch)}
        del values["env_threads"]
        later = {entry.name: entry.default for entry in fields(self) if entry.name in _LATER}
        later["policy_kwargs"] = {}
        return {name: value for name, value in values.items() if name not in later or value != later[name]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ModelSettings:
        """Read the values of :meth:`as_json`."""
        sizes = {name: None if value.get(name) is None else tuple(value[name]) for name in ("net_arch", "frame_size")}
        return cls(**{**value, **sizes})


def with_few_environments(settings: ModelSettings) -> ModelSettings:
    """Return the settings with at most 16 environments, for a model that is not trained: a thousand take minutes."""
    return replace(settings, n_envs=min(settings.n_envs, _A_FEW))


def _check_optimizer(settings: ModelSettings) -> None:
    if settings.optimizer is not None and settings.optimizer not in OPTIMIZERS:
        raise unknown_choice(settings.optimizer, "optimizer", OPTIMIZERS)
    if settings.optimizer_kwargs and settings.optimizer is None:
        raise ConfigError("--optimizer-kwargs needs --optimizer")


def _check_numbers(settings: ModelSettings) -> None:
    if settings.n_envs < 1:
        raise ConfigError(f"--n-envs must be at least 1, not {settings.n_envs}")
    if settings.env_threads is not None and settings.env_threads < 1:
        raise ConfigError(f"--env-threads must be at least 1, not {settings.env_threads}")
    if not math.isfinite(settings.reward_scale) or settings.reward_scale == 0:
        raise ConfigError(f"--reward-scale must be a number other than 0, not {settings.reward_scale}")


def _check_normalize(arguments: Mapping[str, Any]) -> None:
    accepted = dict(inspect.signature(VecNormalize.__init__).parameters)
    for name in ("self", "venv"):
        del accepted[name]
    for name, value in arguments.items():
        if name not in accepted:
            raise unknown_choice(name, "argument of VecNormalize", accepted)
        default = accepted[name].default
        if isinstance(default, bool) != isinstance(value, bool) or (
            isinstance(default, float) and not isinstance(value, (int, float))
        ):
            raise ConfigError(f"--normalize {name}:{value} has the wrong type: SB3's default is {default}")


def _check_network(settings: ModelSettings) -> None:
    if settings.policy != AUTO and settings.policy not in POLICIES:
        raise unknown_choice(settings.policy, "policy", [AUTO, *POLICIES])
    if settings.cnn not in CNNS:
        raise unknown_choice(settings.cnn, "CNN", CNNS)
    if settings.activation not in ACTIVATIONS:
        raise unknown_choice(settings.activation, "activation", ACTIVATIONS)


def _check_layers(settings: ModelSettings) -> None:
    layers = settings.net_arch
    if layers is not None and (not layers or min(layers) < 1):
        raise ConfigError("--net-arch needs one or more layers of at least 1 unit")
    if layers is None and (settings.shared_trunk or settings.cnn == POOLING):
        raise ConfigError("--shared-trunk and --cnn pooling need the layers: --net-arch UNITS ...")
    if settings.shared_trunk and settings.algorithm.two_networks:
        raise ConfigError(f"--shared-trunk is for algorithms with one optimizer, not for {settings.algorithm.title}")
