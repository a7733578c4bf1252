"""What of its input a ticket still sees: the surviving weights of each input feature, by name where it has one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
from gymnasium import spaces

from lottery_core.tickets import Masks

# Vectors have no names in gymnasium; these are those of its documentation (gymnasium.farama.org/environments).
NAMES: dict[str, tuple[str, ...]] = {
    "CartPole": ("cart position", "cart velocity", "pole angle", "pole angular velocity"),
    "Acrobot": (
        *("cos of angle 1", "sin of angle 1", "cos of angle 2", "sin of angle 2"),
        *("angular velocity 1", "angular velocity 2"),
    ),
    "MountainCar": ("position", "velocity"),
    "Pendulum": ("x", "y", "angular velocity"),
    "LunarLander": (
        *("x", "y", "x velocity", "y velocity", "angle", "angular velocity", "left leg contact", "right leg contact"),
    ),
}
_FIRST = re.compile(r"^(.*?)(\d+)\.weight$")
_LSTM = re.compile(r"^(lstm_\w+\.)weight_ih_l0$")


@dataclass(frozen=True)
class Feature:
    """One number of the observation (of an image: one channel).

    :param name: of it
    :param surviving: weights that read it
    :param total: of the dense network
    """

    name: str
    surviving: int
    total: int

    @property
    def lost(self) -> bool:
        """Whether nothing reads it any more."""
        return not self.surviving


def feature_names(space: gymnasium.Space[Any], env: str = "") -> list[str]:
    """Names of what a network's first layer reads, in its order.

    :param space: of the observations; a vector, an image (one name a channel) or a dictionary of vectors (its keys)
    :param env: id of the environment, for vectors that have names
    """
    if isinstance(space, spaces.Dict):
        return [
            name if size == 1 else f"{name}[{index}]"
            for name, part in space.spaces.items()
            for size in [spaces.flatdim(part)]
            for index in range(size)
        ]
    if isinstance(space, spaces.Box) and len(space.shape) == 3:
        return [f"channel {index}" for index in range(min(space.shape[0], space.shape[-1]))]
    size = spaces.flatdim(space)
    known = NAMES.get(env.rpartition("/")[2].partition("-v")[0], ())
    return list(known) if len(known) == size else [f"input {index}" for index in range(size)]


def input_features(masks: Masks, names: Sequence[str], actions: int = 0) -> list[Feature]:
    """How many weights read each input feature, over all networks that read the observation.

    :param masks: of a ticket
    :param names: from :func:`feature_names`
    :param actions: numbers in an action, which a critic reads behind the observation (SAC, TD3 ...)
    """
    first: dict[str, tuple[int, str]] = {}
    for name, mask in masks.items():
        match = _FIRST.match(name)
        if match and mask.dim() in (2, 4):
            found = (int(match.group(2)), name)
            first[match.group(1)] = min(found, first.get(match.group(1), found))
        recurrent = _LSTM.match(name)
        if recurrent:
            first[recurrent.group(1)] = (0, name)
    if any(name.startswith("lstm_") for name in masks):
        # What stands behind an LSTM reads its state, whatever its width.
        first = {stack: found for stack, found in first.items() if not stack.startswith("mlp_extractor.")}
    # Behind a features extractor a first layer reads features: its width is another.
    widths = (len(names), len(names) + actions)
    readers = [masks[name].transpose(0, 1).flatten(1) for _, name in first.values() if masks[name].shape[1] in widths]
    return [
        Feature(name, sum(int(mask[index].sum()) for mask in readers), sum(mask[index].numel() for mask in readers))
        for index, name in enumerate(names)
    ]
