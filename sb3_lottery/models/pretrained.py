"""A model from which an experiment starts: its weights are the initialisation of the dense run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from lottery_core.checkpoints import read_weights
from lottery_core.errors import ConfigError
from lottery_core.experiments import set_values
from lottery_core.files import why_not_regular
from sb3_lottery.models.parameters import bare_policy, copy_to_targets, weights_of


@dataclass(frozen=True)
class Pretrained:
    """A zip of Stable-Baselines3 whose weights the dense run starts from.

    :param file: the zip, relative to the experiment's folder
    :param sha256: digest of the file, so that another file is another experiment
    """

    file: str
    sha256: str

    @classmethod
    def of(cls, out: Path, file: Path) -> Pretrained:
        """Take note of a file.

        :param out: the experiment's folder
        :param file: the zip
        :raises ConfigError: the file cannot be read
        """
        return cls(os.path.relpath(file.resolve(), out.resolve()), _digest(file))

    def as_json(self) -> Mapping[str, Any]:
        """Return JSON values for the settings of an experiment."""
        return asdict(self)

    def load_into(self, model: BaseAlgorithm, out: Path) -> None:
        """Set a model's weights to those of the file, in target networks as well; nothing is unpickled.

        :param model: a new model
        :param out: the experiment's folder
        :raises ConfigError: the file is missing or has changed
        :raises LotteryError: it cannot be read, or is of another architecture
        """
        path = Path(os.path.normpath(out.resolve() / self.file))
        if _digest(path) != self.sha256:
            raise ConfigError(f"--from {path} has changed since the experiment began")
        own = weights_of(model)
        weights = read_weights(path).like(own)
        own.require_same_shapes(weights)
        policy = bare_policy(model)
        set_values(policy, weights.tensors)
        copy_to_targets(policy)


def _digest(path: Path) -> str:
    why = why_not_regular(path)
    if why is None:
        try:
            return hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            why = error.strerror or str(error)
    raise ConfigError(f"--from: cannot read {path}: {why}")
