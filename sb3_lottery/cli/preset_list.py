"""The output of ``sb3-lottery --list-presets``: each preset, its source, and the cost of one run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lottery_core.experiments import duration
from sb3_lottery.backends import ENVPOOL
from sb3_lottery.cli.options import DEFAULTS
from sb3_lottery.cli.presets import PRESETS, SOURCE

# Options on which the speed of a preset's game depends, beside the backend and the number of environments.
MEASURED_WITH = ("env", "algo", "policy", "cnn", "net_arch", "device")
_NOT_MEASURED = "the speed of this game was not measured"


@dataclass(frozen=True)
class Speed:
    """A measured speed on one thread of a 2-core machine, including the environments.

    :param steps: environment steps per second
    :param how: what was measured
    :param episode: maximum number of steps in an episode; 0 if that was not determined
    :param backend: the backend that it holds for; empty if no other one is slower
    """

    steps: int
    how: str
    episode: int = 0
    backend: str = ""


_SPEEDS = {
    "CartPole-v0": Speed(16_000, "A2C, 32 environments, gymnasium", 200),
    "Acrobot-v1": Speed(9_000, "A2C, 32 environments, EnvPool; gymnasium 1.3 to 1.65 times slower", 500, ENVPOOL),
    "LunarLander-v2": Speed(7_000, "A2C, 32 environments, EnvPool; gymnasium 2.1 to 2.8 times slower", 1000, ENVPOOL),
}
# By the network of a preset: for images it takes nearly all of the time.
_CNN_SPEEDS = {
    "pooling": Speed(23, "the paper's network on a CPU: use a GPU"),
    "nature": Speed(336, "NatureCNN on a CPU"),
}


def cost(preset: Mapping[str, Any]) -> str:
    """Return the cost of one run with its arithmetic, or that the game's speed was not measured.

    :param preset: a row of :data:`sb3_lottery.cli.presets.PRESETS`
    """
    values = {**DEFAULTS, **preset}
    unit, total = _length(values)
    speed, estimate = _estimate(preset)
    if speed is None or estimate is None:
        return f"{total:,} {unit}; {_NOT_MEASURED}"
    steps, how = estimate
    equals = "" if unit == "timesteps" else f" = {steps:,} steps"
    most = "at most " if unit == "episodes" else ""
    return f"{how}{equals} / {speed.steps:,} steps/s = {most}{duration(steps / speed.steps)} ({speed.how})"


def seconds_of_a_run(preset: Mapping[str, Any]) -> float | None:
    """Return the longest duration of one run at the speed that was measured for the preset's game.

    :param preset: a row of :data:`sb3_lottery.cli.presets.PRESETS`, with options that override it
    :returns: seconds; ``None`` if the speed was not measured, or was measured with another ``env_backend``
    """
    speed, estimate = _estimate(preset)
    if speed is not None and speed.backend not in ("", preset.get("env_backend")):
        return None
    return None if speed is None or estimate is None else estimate[0] / speed.steps


def _length(values: Mapping[str, Any]) -> tuple[str, int]:
    unit, _, count = values["epoch"].partition(":")
    return unit, int(count) * int(values["epochs"])


def _estimate(preset: Mapping[str, Any]) -> tuple[Speed | None, tuple[int, str] | None]:
    values = {**DEFAULTS, **preset}
    speed = _SPEEDS.get(values["env"]) or _CNN_SPEEDS.get(preset.get("cnn", ""))
    return speed, None if speed is None else _steps(values, *_length(values), speed.episode)


def _steps(values: Mapping[str, Any], unit: str, total: int, episode: int) -> tuple[int, str] | None:
    # Environment steps in a number of episodes, updates (of PPO) or timesteps, and how they are computed.
    if unit == "timesteps":
        return total, f"{total:,} steps"
    if unit == "episodes":
        return (total * episode, f"{total:,} episodes x at most {episode} steps") if episode else None
    settings = values["hyperparams"]
    if not {"n_steps", "batch_size", "n_epochs"} <= settings.keys():
        return None
    rollout = values["n_envs"] * settings["n_steps"]
    updates = math.ceil(rollout / settings["batch_size"]) * settings["n_epochs"]
    return math.ceil(total / updates) * rollout, f"{total:,} updates / {updates} a rollout x {rollout:,} steps"


def preset_list() -> str:
    """Return one entry per preset."""
    lines = ["Options override a preset. Each entry: name and source, settings, hyperparameters, cost of one run."]
    for name, preset in PRESETS.items():
        lines += ["", f"{name}: {preset[SOURCE]}", *(f"    {line}" for line in _entry(preset))]
    lines += ["", "NAME and NAME-steps: the paper counts episodes, so kinds that play worse train for fewer or more"]
    lines += ["environment steps than dense; with NAME-steps all kinds train for the same number of steps."]
    runs = 1 + 2 * 20
    lines += ["", f"A whole experiment of 20 rounds, winning and random, one seed: {runs} runs."]
    return "\n".join(lines)


def _entry(preset: Mapping[str, Any]) -> list[str]:
    values = {**DEFAULTS, **preset}
    hyperparams = " ".join(f"{name}:{value}" for name, value in values["hyperparams"].items()) or "SB3's defaults"
    optimizer = f"; {values['optimizer']}" if values["optimizer"] else ""
    return [
        f"{values['algo'].upper()} on {values['env']}, {_network(preset)}, {values['n_envs']} environments; "
        f"{values['epochs']} epochs of {values['epoch']}, score over {values['score_episodes']} episodes; "
        f"{values['rounds']} rounds",
        f"{hyperparams}{optimizer}",
        cost(preset),
    ]


def _network(preset: Mapping[str, Any]) -> str:
    layers = preset.get("net_arch", DEFAULTS["net_arch"])
    mlp = "SB3's own layers" if layers is None else f"MLP {'-'.join(map(str, layers))}"
    if "cnn" not in preset:
        return mlp
    frames = "x".join(map(str, preset.get("frame_size") or (84, 84)))
    return f"{preset['cnn']} CNN, {frames} frames, {mlp}"
