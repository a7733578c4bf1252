"""The runner's interface to fairseq: the command, the trained weights and the score of a run."""

from __future__ import annotations

import sys
from pathlib import Path

from fairseq_lottery.launcher.resume import why_not_resumable
from fairseq_lottery.names import LAST
from lottery_core.checkpoints import read_weights
from lottery_core.errors import ConfigError
from lottery_core.experiments import Experiment, Run, Score, paths, read_score
from lottery_core.files import unsigned
from lottery_core.tickets import Weights


class Fairseq:
    """fairseq as a :class:`lottery_core.experiments.Framework`.

    :param launcher: command that starts training instead of python, e.g. ``"torchrun --nproc_per_node 2"``
    :param floor: whether the first dense run also measures the floor, the score without any learning
    """

    name = "fairseq"

    def __init__(self, launcher: str | None = None, floor: bool = False) -> None:
        self.launcher, self.floor = launcher, floor

    def command(self, run: Run, folder: Path) -> list[str]:
        """Return the command of the process that trains and scores a run; the rest is in ``experiment.json``."""
        more = [] if self.launcher is None else ["--launcher", self.launcher]
        more += ["--floor"] if self.floor and not run.has_ticket else []
        return [sys.executable, "-m", "fairseq_lottery.launcher.worker", str(folder), *more]

    def why_not_resumable(self, run: Run, folder: Path) -> str | None:
        """Say why a killed run cannot resume bit-exactly from ``checkpoint_last.pt``; ``None`` if it can.

        fairseq itself resumes it, see :func:`fairseq_lottery.launcher.resume.why_not_resumable`.
        """
        experiment = Experiment.load(Run.of_folder(folder.absolute())[0])
        return why_not_resumable(run, folder, experiment.scoring["average"])

    def weights(self, folder: Path) -> Weights:
        """Read the weights of ``checkpoint_last.pt``, with every name of a tied tensor."""
        return read_weights(folder / LAST)

    def score(self, folder: Path) -> Score:
        """Read ``score.json``."""
        return read_score(folder)


def load_trusted(out: Path, trust: bool) -> Experiment:
    """Read the settings of an experiment that run code: its ``--user-dir`` and a scoring command of its own.

    :param out: folder of the experiment
    :param trust: whether the user trusts whoever made the folder
    :raises ConfigError: it is no experiment of ``fairseq-lottery``, or another user or machine has written it
    """
    experiment = Experiment.load(out)
    if experiment.framework != Fairseq.name:
        raise ConfigError(f"{out} is not an experiment of fairseq-lottery")
    if not trust and unsigned([out / paths.EXPERIMENT]):
        raise ConfigError(
            f"{out} can run code by its --user-dir or its scoring, and your own commands on this machine did not write "
            f"{paths.EXPERIMENT}. If you trust whoever made it, add --trust"
        )
    return experiment
