"""A model from which an experiment starts: its weights are the initialisation of the dense run."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from torch import nn

from lottery_core.checkpoints import read_weights
from lottery_core.errors import ConfigError
from lottery_core.experiments import read_row, set_values
from lottery_core.files import file_digest, printable, read_object, refuse_link_out, write_json
from sb3_lottery.models.choices import ACTIVATIONS
from sb3_lottery.models.parameters import bare_policy, copy_to_targets, weights_of
from sb3_lottery.pickled import readable_settings

MOVED = "pretrained.json"  # where the file lies now, in an experiment's folder


@dataclass(frozen=True)
class Pretrained:
    """A zip of Stable-Baselines3 whose weights the dense run starts from.

    :param file: the zip, relative to the experiment's folder
    :param sha256: digest of the file, so that another file is another experiment
    :param moved: where it lies now, relative to the experiment's folder; empty if the experiment has not begun
    """

    file: str
    sha256: str
    moved: str = field(default="", compare=False)

    @classmethod
    def of(cls, out: Path, file: Path) -> Pretrained:
        """Take note of a file.

        :param out: the experiment's folder
        :param file: the zip
        :raises ConfigError: the file cannot be read
        """
        place, sha256 = os.path.relpath(file.resolve(), out.resolve()), file_digest(file, "--from")
        before = read_row(out).get("settings", {}).get("start", {})
        if before.get("sha256") == sha256:
            return cls(str(before.get("file")), sha256, place)
        return cls(place, sha256)

    def as_json(self) -> Mapping[str, Any]:
        """Return JSON values for the settings of an experiment."""
        return {"file": self.file, "sha256": self.sha256}

    def remember(self, out: Path) -> None:
        """Write down where the file lies now, if it has moved, for the runs that start from it.

        :param out: the experiment's folder
        :raises ConfigError: the file there is a symbolic link that leads out of the folder
        :raises WriteError: the file cannot be written
        """
        if self.moved and (self.moved != self.file or (out / MOVED).exists()):
            refuse_link_out(out, out / MOVED)
            write_json(out / MOVED, {"file": self.moved})

    def load_into(self, model: BaseAlgorithm, out: Path) -> None:
        """Set a model's weights to those of the file, in target networks as well; nothing is unpickled.

        :param model: a new model
        :param out: the experiment's folder
        :raises ConfigError: the file is missing or has changed
        :raises LotteryError: it cannot be read, or is of another architecture or activation
        """
        path = self._path(out)
        if file_digest(path, "--from") != self.sha256:
            raise ConfigError(f"--from {path} has changed since the experiment began")
        own = weights_of(model)
        weights = read_weights(path).like(own)
        own.require_same_shapes(weights)
        policy = bare_policy(model)
        _require_same_activation(policy, path)
        set_values(policy, weights.tensors)
        copy_to_targets(policy)

    def _path(self, out: Path) -> Path:
        place = self.moved or str(read_object(out / MOVED).get("file", self.file))
        return Path(os.path.normpath(out.resolve() / place))


def _require_same_activation(policy: nn.Module, path: Path) -> None:
    # The weights fit, and the network would be another one.
    saved, parameters = readable_settings(path), inspect.signature(type(policy).__init__).parameters
    if not saved or "activation_fn" not in parameters or not hasattr(policy, "activation_fn"):
        return
    given = saved.get("policy_kwargs")
    names = given if isinstance(given, dict) else {}
    there = str(names.get("activation_fn", parameters["activation_fn"].default))
    here = str(policy.activation_fn)
    if there != here:
        options = {str(activation): f": give --activation {name}" for name, activation in ACTIVATIONS.items()}
        raise ConfigError(
            f"--from {path} has the activation {_name(there)}, and this network {_name(here)}{options.get(there, '')}"
        )


def _name(activation: str) -> str:
    return printable(activation.removesuffix("'>").rpartition(".")[2], 80)
