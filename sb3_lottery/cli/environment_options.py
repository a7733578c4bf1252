"""The options of ``sb3-lottery`` for environments and for what the policy observes, and the choice of the backend."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lottery_core.cli import accept, listed
from lottery_core.experiments import read_row
from sb3_lottery.backends import AUTO, BACKENDS, GYMNASIUM, SUCCESSORS, atari_game, choose_backend
from sb3_lottery.cli.key_value import KeyValue
from sb3_lottery.models import AUTO as AUTO_POLICY
from sb3_lottery.models import CNNS, NATURE, POLICIES
from sb3_lottery.training import saved_model

DEFAULTS: dict[str, Any] = {
    "env_backend": AUTO,
    "subproc": False,
    "env_threads": None,
    "frame_size": None,
    "clip_reward": False,
    "policy": AUTO_POLICY,
    "cnn": NATURE,
    "normalize": None,
}
_HEAD = [512]  # the layer after NatureCNN's convolutions, SB3's default


def add_environment_options(group: argparse._ArgumentGroup) -> None:
    """Add the options to a group of a parser.

    :param group: group of a parser whose ``argument_default`` is ``argparse.SUPPRESS``
    """
    backend = group.add_argument(
        "--env-backend",
        metavar="NAME",
        help=listed("what steps the environments (auto: the installed backend measured to be fastest)", BACKENDS),
    )
    accept(backend, [AUTO, *BACKENDS])
    group.add_argument(
        "--subproc", action=argparse.BooleanOptionalAction, help="one process per environment, with gymnasium (no)"
    )
    group.add_argument(
        "--env-threads",
        type=int,
        metavar="N",
        help="threads that step the environments, with EnvPool and ALE; they do not change the results (the cores of "
        "the job, shared by --jobs, where there are enough environments)",
    )
    group.add_argument(
        "--frame-size", nargs=2, type=int, metavar=("HEIGHT", "WIDTH"), help="size of Atari frames in pixels (84 84)"
    )
    group.add_argument(
        "--clip-reward",
        action=argparse.BooleanOptionalAction,
        help="clip rewards to [-1, 1] in training, not for the score (no)",
    )
    group.add_argument(
        "--policy", metavar="NAME", help=f"{', '.join(POLICIES)} or auto: by the environment's observations (auto)"
    )
    group.add_argument(
        "--normalize",
        nargs="*",
        action=KeyValue,
        metavar="NAME:VALUE",
        help="SB3's VecNormalize around the environments, e.g. --normalize norm_reward:False (no)",
    )
    accept(group.add_argument("--cnn", metavar="NAME", help=listed("network for images (nature)", CNNS)), CNNS)


def choose_environment(
    values: Mapping[str, Any], given: Mapping[str, Any], preset: Mapping[str, Any]
) -> dict[str, Any]:
    """Choose the backend, and the values of options that depend on it.

    A folder that already holds an experiment keeps its backend.

    :param values: values of all options
    :param given: values that the user gave
    :param preset: values of the preset
    :returns: values of all options
    :raises ConfigError: the folder holds an ``experiment.json`` that cannot be read
    """
    chosen = dict(values)
    env = chosen["env"]
    if chosen["env_backend"] == AUTO:
        chosen["env_backend"] = _backend_of_folder(chosen["out"]) or choose_backend(env, chosen["subproc"])
    if "env" not in given and chosen["env_backend"] == GYMNASIUM and env in SUCCESSORS:
        chosen["env"] = SUCCESSORS[env]
        note = f"{SUCCESSORS[env]} replaces the preset's {env}, which only EnvPool has (--env-backend envpool)"
        chosen["notes"] = (*chosen["notes"], note)
    if "net_arch" not in given and "net_arch" not in preset and (atari_game(env) or chosen["policy"] == "cnn"):
        chosen["net_arch"] = _HEAD
    if "cnn" in given and "policy" not in given:
        chosen["policy"] = "cnn"  # so that observations that are not images are refused
    if chosen["frame_size"] is not None:
        chosen["frame_size"] = tuple(chosen["frame_size"])
    return chosen


def _backend_of_folder(out: Path) -> str | None:
    row = read_row(out)
    model = saved_model(row["framework"], row["settings"]) if row else None
    return None if model is None else str(model.get("env_backend", GYMNASIUM))
