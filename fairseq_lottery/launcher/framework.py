"""fairseq as the runner sees it: the command of a run, its weights, its score."""

from __future__ import annotations

import sys
from pathlib import Path

from fairseq_lottery.launcher.resume import why_not_resumable
from fairseq_lottery.names import LAST
from lottery_core.checkpoints import read_weights
from lottery_core.experiments import Run, Score, read_score
from lottery_core.tickets import Weights


class Fairseq:
    """See :class:`lottery_core.experiments.protocols.Framework`.

    :param launcher: starts the training instead of python, e.g. ``"torchrun --nproc_per_node 2"``
    """

    name = "fairseq"

    def __init__(self, launcher: str | None = None) -> None:
        self.launcher = launcher

    def command(self, run: Run, folder: Path) -> list[str]:
        """One process a run, which trains and scores; it reads the rest from ``experiment.json``."""
        more = [] if self.launcher is None else ["--launcher", self.launcher]
        return [sys.executable, "-m", "fairseq_lottery.launcher.worker", str(folder), *more]

    def why_not_resumable(self, run: Run, folder: Path) -> str | None:
        """fairseq resumes by itself from ``checkpoint_last.pt``; see :func:`.resume.why_not_resumable`."""
        return why_not_resumable(run, folder)

    def weights(self, folder: Path) -> Weights:
        """Of ``checkpoint_last.pt``; pruning sorts out tied tensors by the rewind point."""
        return read_weights(folder / LAST)

    def score(self, folder: Path) -> Score:
        """Of ``score.json``."""
        return read_score(folder)
