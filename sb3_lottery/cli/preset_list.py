"""What ``sb3-lottery --list-presets`` prints: each preset, where it is from, and what one run of it costs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lottery_core.experiments import duration
from sb3_lottery.cli.presets import PRESETS

_TABLE = "the paper (arXiv 1906.02768), Table A1 and section 3.3"


@dataclass(frozen=True)
class Speed:
    """Measured on one thread of a 2-core machine, the environments included.

    :param steps: of the environments a second
    :param how: what was measured
    :param episode: the most steps of an episode, where the length is in episodes
    """

    steps: int
    how: str
    episode: int = 0


_SPEEDS = {
    "CartPole-v0": Speed(16_000, "A2C, 32 environments, gymnasium", 200),
    "Acrobot-v1": Speed(9_000, "A2C, 32 environments, EnvPool; gymnasium 1.3 to 1.65 times slower", 500),
    "LunarLander-v2": Speed(7_000, "A2C, 32 environments, EnvPool; gymnasium 2.1 to 2.8 times slower", 1000),
}
_CNN_SPEEDS = {
    "pooling": Speed(23, "the paper's network on a CPU: a GPU's work"),
    "nature": Speed(336, "NatureCNN on a CPU"),
}


def cost(preset: Mapping[str, Any]) -> str:
    """The cost of one run, with its arithmetic."""
    unit, _, count = preset["epoch"].partition(":")
    total = int(count) * preset["epochs"]
    speed = _SPEEDS.get(preset["env"]) or _CNN_SPEEDS[preset["cnn"]]
    most = ""
    if unit == "episodes":
        steps, most = total * speed.episode, "at most "
        how = f"{total:,} episodes x at most {speed.episode} steps"
    elif unit == "updates":
        settings = preset["hyperparams"]
        rollout = preset["n_envs"] * settings["n_steps"]
        updates = math.ceil(rollout / settings["batch_size"]) * settings["n_epochs"]
        steps = math.ceil(total / updates) * rollout
        how = f"{total:,} updates / {updates} a rollout x {rollout:,} steps"
    else:
        steps, how = total, f"{total:,} steps"
    equals = "" if how.endswith("steps") and steps == total else f" = {steps:,} steps"
    return f"{how}{equals} / {speed.steps:,} steps/s = {most}{duration(steps / speed.steps)} ({speed.how})"


def preset_list() -> str:
    """One entry a preset."""
    lines = ["Any option overrides a preset's; lines in the order: name, source, settings, cost of one run."]
    for name, preset in PRESETS.items():
        nature = preset.get("cnn") == "nature"
        source = "rl_zoo3's hyperparameters of PPO for Atari, a tenth of its steps" if nature else _TABLE
        frames = "x".join(map(str, preset.get("frame_size", (84, 84))))
        size = "-".join(map(str, preset["net_arch"]))
        net = f"{preset['cnn']} CNN, {frames} frames, MLP {size}" if "cnn" in preset else f"MLP {size}"
        hyper = " ".join(f"{key}:{value}" for key, value in preset["hyperparams"].items())
        optimizer = f"; {preset['optimizer']}" if "optimizer" in preset else ""
        lines += [
            "",
            f"{name}: {source}",
            f"    {preset['algo'].upper()} on {preset['env']}, {net}, {preset['n_envs']} environments; "
            f"{preset['epochs']} epochs of {preset['epoch']}, score over {preset['score_episodes']} episodes; "
            f"{preset['rounds']} rounds",
            f"    {hyper}{optimizer}",
            f"    {cost(preset)}",
        ]
    runs = 1 + 2 * 20
    lines += ["", f"A whole experiment of 20 rounds, winning and random, one seed: {runs} runs."]
    return "\n".join(lines)
