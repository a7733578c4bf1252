"""Count the surviving weights of a ticket that read each input feature, by name if the feature has one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
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
_MOST_FEATURES = 400  # a longer vector is taken for the output of a features extractor
_FRONT = ("0", "1")  # flattening or normalising layers may come before the first matrix of a stack
_TRUNK = ".shared_net."
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
        return _names(min(space.shape[0], space.shape[-1]), "", channels=True)
    return _names(spaces.flatdim(space), env)


def _names(size: int, env: str, channels: bool = False) -> list[str]:
    if channels:
        return [f"channel {index}" for index in range(size)]
    known = NAMES.get(env.rpartition("/")[2].partition("-v")[0], ())
    return list(known) if len(known) == size else [f"input {index}" for index in range(size)]


def input_features(masks: Masks, names: Sequence[str], actions: int = 0) -> list[Feature]:
    """Count the weights that read each input feature, over all networks that read the observation.

    :param masks: masks of a ticket
    :param names: names of the features, from :func:`feature_names`
    :param actions: size of an action, which critics read after the observation (SAC, TD3, ...)
    """
    # The first layer after a features extractor reads extracted features, so its width differs.
    widths = (len(names), len(names) + actions)
    readers = [
        masks[name].transpose(0, 1).flatten(1) for name in _first_layers(masks) if masks[name].shape[1] in widths
    ]
    return [
        Feature(name, sum(int(mask[index].sum()) for mask in readers), sum(mask[index].numel() for mask in readers))
        for index, name in enumerate(names)
    ]


def _first_layers(masks: Masks) -> list[str]:
    # The layers that come first in their stack.
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
        # The layers after an LSTM read its state, even if the width fits.
        first = {stack: layer for stack, layer in first.items() if not stack.startswith("mlp_extractor.")}
    return [name for _, name in first.values()]


def ticket_inputs(masks: Masks, settings: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    """Count the weights that read each input feature, from the masks of a ticket alone.

    No model is loaded, so the number of features is that of the narrowest first layer: the actor's, if there is also a
    critic that reads actions.

    :param masks: masks of a ticket
    :param settings: settings of the experiment; if ``sb3-lottery`` wrote them, they name the environment
    :returns: name, surviving weights and all weights of each feature; empty if no layer reads the observation
    """
    layers = _observers(masks)
    if not layers:
        return []
    convolutions = masks[layers[0]].dim() == 4
    size = min(masks[name].shape[1] for name in layers)
    actions = max(masks[name].shape[1] for name in layers) - size
    if size > _MOST_FEATURES:
        return []
    model = settings.get("model")
    env = model.get("env") if isinstance(model, Mapping) else None
    return [
        (feature.name, feature.surviving, feature.total)
        for feature in input_features(masks, _names(size, str(env or ""), convolutions), actions)
        if feature.total
    ]


def _observers(masks: Masks) -> list[str]:
    # The first layers that read the observation itself, not the output of a features extractor or a shared trunk.
    whole = []
    for name in _first_layers(masks):
        match = _FIRST.match(name)
        if match is None or match.group(2) in _FRONT:
            whole.append(name)
    before = [name for name in whole if "features_extractor." in name] or [name for name in whole if _TRUNK in name]
    convolutions = [name for name in before if masks[name].dim() == 4]
    return convolutions or before or whole
