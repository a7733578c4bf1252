"""Stable-Baselines3 as the runner sees it: the command of a run, its weights, its score."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterable
from pathlib import Path

import gymnasium
import stable_baselines3

from lottery_core.checkpoints import read_weights
from lottery_core.experiments import Run, Score, read_score
from lottery_core.tickets import Weights, versions
from sb3_lottery.training.train import MODEL

_PACKAGES = {"sb3_contrib": "sb3-contrib", "envpool": "envpool", "ale": "ale-py"}


class Sb3:
    """See :class:`lottery_core.experiments.protocols.Framework`.

    :param tensorboard: each run also writes TensorBoard's files, into ``tensorboard`` in its folder
    """

    name = "sb3"

    def __init__(self, tensorboard: bool = False) -> None:
        self.tensorboard = tensorboard

    def command(self, run: Run, folder: Path) -> list[str]:
        """One process a run; it reads the rest from ``experiment.json``."""
        more = ["--tensorboard"] if self.tensorboard else []
        return [sys.executable, "-m", "sb3_lottery.cli.worker", str(folder), *more]

    def why_not_resumable(self, run: Run, folder: Path) -> str:
        """Always one: an agent's environments cannot be put back to the middle of their episodes."""
        return "Stable-Baselines3 cannot save a training with its environments"

    def weights(self, folder: Path) -> Weights:
        """Of ``model.zip``, without unpickling it."""
        return read_weights(folder / MODEL)

    def score(self, folder: Path) -> Score:
        """Of ``score.json``."""
        return read_score(folder)


def all_versions(modules: Iterable[str] = ()) -> dict[str, str]:
    """Versions of what decides the bits of an SB3 run.

    :param modules: further ones that it uses, e.g. ``"sb3_contrib"``; those that are not installed are left out
    """
    more = {_PACKAGES[name]: find_version(_PACKAGES[name]) for name in modules if name in _PACKAGES}
    return {
        **versions(),
        "stable-baselines3": stable_baselines3.__version__,
        "gymnasium": gymnasium.__version__,
        **{package: version for package, version in more.items() if version},
    }


def find_version(package: str) -> str | None:
    """The version of an installed package, ``None`` for another."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def score_label(score_episodes: int) -> str:
    """What the score is, for tables and pictures."""
    return f"mean return of the last {score_episodes} training episodes"
