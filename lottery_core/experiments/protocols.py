"""What a plugin gives the runner: how to train, read and score a run, and where its trainings run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from lottery_core.experiments.plan import Run
from lottery_core.experiments.results import Score
from lottery_core.files import FolderLock
from lottery_core.tickets import Weights


class Framework(Protocol):
    """What a framework tells the runner: the command of a run, how to read its weights, how to read its score."""

    name: str

    def command(self, run: Run, folder: Path) -> list[str]:
        """The command line that trains ``run`` in ``folder``.

        It reads ``folder``'s ticket (a control: the winning ticket of its round, and writes its own), and leaves
        a checkpoint and a score; the dense one also leaves ``init.safetensors`` and ``rewind.safetensors``.
        """

    def why_not_resumable(self, run: Run, folder: Path) -> str | None:
        """Why ``run``, killed in ``folder``, cannot go on from its files to the very same bits; ``None`` where it can.

        The files are of the same configuration, versions and ticket. Where there is an obstacle, they are removed
        and the run begins again.
        """

    def weights(self, folder: Path) -> Weights:
        """The trained weights in ``folder``."""

    def score(self, folder: Path) -> Score:
        """The score of the training in ``folder``."""


class Training(Protocol):
    """A training that was started."""

    def finished(self) -> bool:
        """Whether it has ended well. :raises RunError: it has ended badly"""

    def progress(self) -> Mapping[str, Any]:
        """How far it is; ``text`` is for people."""

    def stop(self) -> str | None:
        """End it within seconds; or a line that tells that, and how, it goes on without this process."""

    def cancel(self) -> None:
        """End it in any case."""


class FinishedInProcess:
    """A training that was done, in this process, before it was asked for."""

    def finished(self) -> bool:
        """Always."""
        return True

    def progress(self) -> Mapping[str, Any]:
        """Nothing to tell."""
        return {}

    def stop(self) -> None:
        """Nothing to end."""

    def cancel(self) -> None:
        """Nothing to end."""


class Executor(Protocol):
    """Starts trainings, here or elsewhere."""

    jobs: int  # trainings at a time
    retries: int  # how often a lost one is started again

    def start(self, run: Run, folder: Path, lock: FolderLock) -> Training:
        """Start training ``run`` in ``folder``."""

    def adopt(self, run: Run, folder: Path) -> Training | None:
        """The training of ``run`` that an earlier process started and left; ``None`` where there is none."""
