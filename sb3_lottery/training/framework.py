"""Stable-Baselines3 as the runner sees it: the command, the weights and the score of a run."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterable
from pathlib import Path

import gymnasium
import stable_baselines3

from lottery_core import dialects
from lottery_core.checkpoints import read_weights
from lottery_core.experiments import Run, Score, read_score
from lottery_core.tickets import Weights, versions
from sb3_lottery.training.evaluation import Evaluation
from sb3_lottery.training.train import MODEL

_PACKAGES = {"sb3_contrib": "sb3-contrib", "envpool": "envpool", "ale": "ale-py"}


class Sb3:
    """Stable-Baselines3 as a :class:`lottery_core.experiments.protocols.Framework`.

    :param tensorboard: whether each run also writes TensorBoard files to ``tensorboard`` in its folder
    :param env_threads: threads that step the environments of each run; ``None`` leaves them to the run
    :param floor: whether the first dense run also measures the floor, the score without any learning
    """

    name = "sb3"

    def __init__(self, tensorboard: bool = False, env_threads: int | None = None, floor: bool = False) -> None:
        self.tensorboard, self.env_threads, self.floor = tensorboard, env_threads, floor

    def command(self, run: Run, folder: Path) -> list[str]:
        """Return the command line that trains a run; it reads the settings from ``experiment.json``.

        :param run: the run
        :param folder: the run's folder
        """
        more = ["--tensorboard"] if self.tensorboard else []
        more += ["--env-threads", str(self.env_threads)] if self.env_threads else []
        more += ["--floor"] if self.floor and not run.has_ticket else []
        return [sys.executable, "-m", "sb3_lottery.cli.worker", str(folder), *more]

    def why_not_resumable(self, run: Run, folder: Path) -> str:
        """Return why a killed run cannot be resumed: environments cannot be restored in the middle of an episode.

        :param run: the run
        :param folder: the run's folder
        """
        return "Stable-Baselines3 cannot save a training run with its environments"

    def weights(self, folder: Path) -> Weights:
        """Read the trained weights from ``model.zip``, without unpickling it.

        :param folder: the run's folder
        """
        return read_weights(folder / MODEL)

    def score(self, folder: Path) -> Score:
        """Read ``score.json``.

        :param folder: the run's folder
        """
        return read_score(folder)


def all_versions(modules: Iterable[str] = ()) -> dict[str, str]:
    """Return the versions of the packages on which the bits of an SB3 run depend.

    :param modules: further modules that the run uses, e.g. ``"sb3_contrib"``; those not installed are left out
    """
    packages = [_PACKAGES[name] for name in modules if name in _PACKAGES]
    installed = {package: find_version(package) for package in packages}
    return {
        **versions(),
        "stable-baselines3": stable_baselines3.__version__,
        "gymnasium": gymnasium.__version__,
        **{package: version for package, version in installed.items() if version},
    }


def find_version(package: str) -> str | None:
    """Return the version of an installed package, ``None`` if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def score_label(score_episodes: int, evaluation: Evaluation | None = None) -> str:
    """Return the description of the score, for tables and plots.

    :param score_episodes: L, the number of training episodes whose mean return is the score
    :param evaluation: the evaluation, which may give the score instead; ``None`` if there is none
    """
    if evaluation is not None and evaluation.is_score:
        settings = {"evaluation": evaluation.as_json()}
        return dialects.named(Sb3.name).evaluation_label(settings, evaluation.episodes)
    return f"mean return of the last {score_episodes} training episodes"
