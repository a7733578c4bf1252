"""Options of ``sb3-lottery`` about environments and what the policy sees, and what they leave to be chosen."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lottery_core.experiments import read_row
from sb3_lottery.backends import AUTO, BACKENDS, atari_game, choose_backend
from sb3_lottery.backends.envpool_vec import SUCCESSORS
from sb3_lottery.cli.key_value import KeyValue
from sb3_lottery.models import AUTO as AUTO_POLICY
from sb3_lottery.models import CNNS, POLICIES

DEFAULTS: dict[str, Any] = {
    "env_backend": AUTO,
    "subproc": False,
    "frame_size": None,
    "clip_reward": False,
    "policy": AUTO_POLICY,
    "cnn": "nature",
    "normalize": None,
}
_HEAD = [512]  # behind NatureCNN's convolutions, SB3's default


def add_environment_options(group: argparse._ArgumentGroup) -> None:
    """Add the options to a group of a parser."""
    backends = "; ".join(f"{name}: {meaning}" for name, meaning in BACKENDS.items())
    group.add_argument(
        "--env-backend",
        metavar="NAME",
        help=f"who steps the environments (auto: the one measured fastest, if installed). {backends}",
    )
    group.add_argument(
        "--subproc", action=argparse.BooleanOptionalAction, help="one process an environment, with gymnasium (no)"
    )
    group.add_argument(
        "--frame-size", nargs=2, type=int, metavar=("HEIGHT", "WIDTH"), help="of Atari frames, in pixels (84 84)"
    )
    group.add_argument(
        "--clip-reward",
        action=argparse.BooleanOptionalAction,
        help="rewards clipped to [-1, 1] for training, not for the score (no)",
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
    cnns = "; ".join(f"{name}: {meaning}" for name, meaning in CNNS.items())
    group.add_argument("--cnn", metavar="NAME", help=f"the network for images (nature). {cnns}")


def settle(values: Mapping[str, Any], given: Mapping[str, Any], preset: Mapping[str, Any]) -> dict[str, Any]:
    """The values of all options with the backend chosen, and what depends on it.

    A folder that holds an experiment already goes on with the backend that it began with.

    :param values: of all options; ``env`` among them
    :param given: by the user
    :param preset: by the preset
    :raises ConfigError: the folder holds something that is no experiment
    """
    settled = dict(values)
    env = settled["env"]
    if settled["env_backend"] == AUTO:
        settled["env_backend"] = _begun_with(settled.get("out")) or choose_backend(env, settled["subproc"])
    if "env" not in given and settled["env_backend"] == "gymnasium" and env in SUCCESSORS:
        settled["env"] = SUCCESSORS[env]
        note = f"{SUCCESSORS[env]} in place of the preset's {env}, which is in EnvPool only (--env-backend envpool)"
        settled["notes"] = (*settled.get("notes", ()), note)
    if "net_arch" not in given and "net_arch" not in preset and (atari_game(env) or settled["policy"] == "cnn"):
        settled["net_arch"] = _HEAD
    if "cnn" in given and "policy" not in given:
        settled["policy"] = "cnn"  # what is no image is refused, instead of getting another network
    if settled["frame_size"] is not None:
        settled["frame_size"] = tuple(settled["frame_size"])
    return settled


def _begun_with(out: Path | None) -> str | None:
    row = read_row(out) if out is not None else {}
    if row.get("framework") != "sb3":
        return None
    model = row["settings"].get("model", {})
    return str(model.get("env_backend", "gymnasium")) if "algo" in model else None
