"""Make an SB3 model from its settings."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import VecEnv

from lottery_core.errors import ConfigError
from lottery_core.experiments.executors import visible_gpus
from lottery_core.files import first_line
from lottery_core.pruning import derive_seed
from sb3_lottery.models.choices import ACTIVATIONS, OPTIMIZERS
from sb3_lottery.models.environments import make_env
from sb3_lottery.models.policies import network_kwargs, policy_kind
from sb3_lottery.models.schedules import schedule_of
from sb3_lottery.models.settings import ModelSettings


def check_device(device: str) -> None:
    """Check that a device exists on this machine.

    :param device: ``"cpu"``, ``"cuda"``, ``"cuda:N"`` or ``"auto"``
    :raises ConfigError: torch does not know the device, or this machine does not have it
    """
    try:
        parsed = torch.device("cpu" if device == "auto" else device)
    except RuntimeError as error:
        raise ConfigError(f"unknown device '{device}': accepted: cpu, cuda, cuda:N, auto") from error
    if parsed.type == "cuda" and (parsed.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"--device {device}: torch sees {torch.cuda.device_count()} GPUs here")


def several_gpus(device: str) -> list[str]:
    """Return the GPUs to spread runs over, as ``CUDA_VISIBLE_DEVICES`` names them.

    :param device: ``"cpu"``, ``"cuda"``, ``"cuda:N"`` or ``"auto"``
    :returns: the GPUs; empty if there are fewer than two, or if ``device`` is the CPU or a particular GPU
    """
    gpus = visible_gpus() if device in ("cuda", "auto") else []
    return gpus if len(gpus) > 1 else []


def make_model(settings: ModelSettings, seed: int, tensorboard_log: str | None = None) -> BaseAlgorithm:
    """Make a fresh model with its environments.

    :param settings: what the model is made from
    :param seed: seed of the initialisation, the actions and the environments
    :param tensorboard_log: folder for TensorBoard files; ``None`` writes none
    :raises ConfigError: Stable-Baselines3 or the optimizer refuses a value
    """
    # SB3 seeds environment i with seed + i: seeds 1 and 2 would share nearly all of their environments.
    seed = derive_seed("train", seed)
    env = make_env(settings, seed)
    algorithm = settings.algorithm
    try:
        kind = policy_kind(settings, env.observation_space)
        # The constructor's signature differs from algorithm to algorithm, so mypy cannot check the call.
        make: Any = algorithm.load()
        return make(  # type: ignore[no-any-return]
            algorithm.policy(kind),
            env,
            policy_kwargs=_policy_kwargs(settings, kind),
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
        reason = first_line(error)
        if "ernel size" in reason:  # a convolution's kernel is larger than its input
            shape = " x ".join(map(str, env.observation_space.shape or ()))
            reason = (
                f"images of {shape} are too small for the CNN (NatureCNN needs 36 x 36 pixels): --policy mlp reads the "
                "pixels as numbers"
            )
        raise ConfigError(f"cannot make {algorithm.title} for {settings.env}: {reason}") from error


def _policy_kwargs(settings: ModelSettings, kind: str) -> dict[str, Any]:
    kwargs = network_kwargs(settings, kind, ACTIVATIONS[settings.activation])
    if settings.algorithm.on_policy:
        kwargs["ortho_init"] = settings.ortho_init
    if settings.optimizer is not None:
        kwargs["optimizer_class"] = OPTIMIZERS[settings.optimizer]
        if settings.optimizer_kwargs:  # without any, SB3 uses its own arguments for Adam
            kwargs["optimizer_kwargs"] = dict(settings.optimizer_kwargs)
    return kwargs | dict(settings.policy_kwargs)


def _hyperparams(settings: ModelSettings, env: VecEnv) -> dict[str, Any]:
    values = {name: schedule_of(name, value) for name, value in settings.hyperparams.items()}
    if isinstance(values.get("train_freq"), list):
        values["train_freq"] = tuple(values["train_freq"])
    noise, shape = values.get("action_noise"), env.action_space.shape
    if isinstance(noise, (int, float)) and shape:
        values["action_noise"] = NormalActionNoise(np.zeros(shape), np.full(shape, float(noise)))
    return values
