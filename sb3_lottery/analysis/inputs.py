"""The surviving weights of a ticket that read each input feature, by name if the feature has one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
from gymnasium import spaces

from lottery_core.tickets import Masks

# Gymnasium does not name the entries of a vector; these names are from its documentation
# (gymnasium.farama.org/environments).
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
    """An input feature: one number of the observation, or one channel of an image.

    :param name: name of the feature
    :param surviving: number of surviving weights that read it
    :param total: number of weights that read it in the dense network
    """

    name: str
    surviving: int
    total: int

    @property
    def lost(self) -> bool:
        """Whether no surviving weight reads the feature."""
        return not self.surviving


def feature_names(space: gymnasium.Space[Any], env: str = "") -> list[str]:
    """Return the names of the features that the first layer of a network reads, in order.

    :param space: observation space: a vector, an image (one name per channel) or a dictionary of vectors (its keys)
    :param env: id of the environment, for vectors whose entries have names
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
    """Count the weights that read each input feature, over all networks that read the observation.

    :param masks: masks of a ticket
    :param names: names of the features, from :func:`feature_names`
    :param actions: size of an action, which a critic reads after the observation (SAC, TD3 ...)
    """
    first: dict[str, tuple[int, str]] = {}
    for name, mask in masks.items():
        match = _FIRST.match(name)
        if match and mask.dim() in (2, 4):
            layer = (int(match.group(2)), name)
            first[match.group(1)] = min(layer, first.get(match.group(1), layer))
        recurrent = _LSTM.match(name)
        if recurrent:
            first[recurrent.group(1)] = (0, name)
    if any(name.startswith("lstm_") for name in masks):
        # The layers after an LSTM read its state, whatever its width.
        first = {stack: layer for stack, layer in first.items() if not stack.startswith("mlp_extractor.")}
    # The first layer after a features extractor reads features, so its width differs.
    widths = (len(names), len(names) + actions)
    readers = [masks[name].transpose(0, 1).flatten(1) for _, name in first.values() if masks[name].shape[1] in widths]
    return [
        Feature(name, sum(int(mask[index].sum()) for mask in readers), sum(mask[index].numel() for mask in readers))
        for index, name in enumerate(names)
    ]
