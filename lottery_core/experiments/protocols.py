"""What the runner needs of a plugin: how to train, read and score a run, and where to train it."""

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

        The command reads the ticket in ``folder`` (a control reads the winning ticket of its round and writes its own)
        and leaves a checkpoint and a score; the dense run also leaves ``init.safetensors`` and ``rewind.safetensors``.
        """

    def why_not_resumable(self, run: Run, folder: Path) -> str | None:
        """Why an interrupted run cannot be resumed to the very same bits; ``None`` where it can.

        Asked only where configuration, versions and ticket are those that the run was started with. A run that cannot
        be resumed is restarted, and its files are removed.

        :param run: the run
        :param folder: the run's folder with the files that the interrupted training left
        """

    def weights(self, folder: Path) -> Weights:
        """The trained weights in ``folder``."""

    def score(self, folder: Path) -> Score:
        """The score of the training in ``folder``."""


class Training(Protocol):
    """A training that was started."""

    def finished(self) -> bool:
        """Whether the training has ended well.

        :raises RunError: it has ended badly
        """

    def progress(self) -> Mapping[str, Any]:
        """The training's latest progress; ``text`` is for people."""

    def stop(self) -> str | None:
        """Stop it, or return a notice that it outlives this process."""

    def cancel(self) -> None:
        """Stop it in any case."""


class FinishedInProcess:
    """A run already finished in this process."""

    def finished(self) -> bool:
        """Always."""
        return True

    def progress(self) -> Mapping[str, Any]:
        """No progress."""
        return {}

    def stop(self) -> None:
        """Nothing to stop."""

    def cancel(self) -> None:
        """Nothing to stop."""


class Executor(Protocol):
    """Starts training runs, on this machine or elsewhere."""

    jobs: int  # runs trained at a time
    retries: int  # how often a lost one is started again

    def start(self, run: Run, folder: Path, lock: FolderLock) -> Training:
        """Start training ``run`` in ``folder``."""

    def adopt(self, run: Run, folder: Path) -> Training | None:
        """The training of ``run`` that an earlier process started and left running; ``None`` where there is none."""
