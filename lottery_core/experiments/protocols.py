"""What a plugin implements for the runner: how to train, read and score a run, and where to train it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from lottery_core.experiments.graph import Run
from lottery_core.experiments.results import Score
from lottery_core.files import FolderLock
from lottery_core.tickets import Weights


class Framework(Protocol):
    """A framework as the runner sees it: the command that trains a run, and how to read its weights and its score."""

    name: str

    def command(self, run: Run, folder: Path) -> list[str]:
        """Return the command line that trains ``run`` in ``folder``.

        The command reads the ticket in ``folder`` (a control reads the winning ticket of its round and writes its own)
        and leaves a checkpoint and a score; the dense run also leaves ``init.safetensors`` and ``rewind.safetensors``.
        """

    def why_not_resumable(self, run: Run, folder: Path) -> str | None:
        """Return why an interrupted run cannot be resumed bit for bit; ``None`` if it can.

        This is called only if configuration, versions and ticket are the same as when the run was started. A run that
        cannot be resumed is restarted, and its files are removed.

        :param run: the run
        :param folder: the run's folder, with the files that the interrupted run left
        """

    def weights(self, folder: Path) -> Weights:
        """Read the trained weights in a run's ``folder``."""

    def score(self, folder: Path) -> Score:
        """Read the score in a run's ``folder``."""


class Training(Protocol):
    """A training run that was started."""

    def finished(self) -> bool:
        """Return whether the run has succeeded.

        :raises RunError: the run has failed
        """

    def progress(self) -> Mapping[str, Any]:
        """Return the run's latest progress, of which ``text`` is shown to users."""

    def stop(self) -> str | None:
        """Stop the run, or return a notice that it outlives this process."""

    def cancel(self) -> None:
        """Stop the run, even if it could outlive this process."""


class FinishedInProcess:
    """A run already finished in this process."""

    def finished(self) -> bool:
        """Return ``True``, because the run has ended."""
        return True

    def progress(self) -> Mapping[str, Any]:
        """Return an empty mapping."""
        return {}

    def stop(self) -> None:
        """Do nothing: the run has ended."""

    def cancel(self) -> None:
        """Do nothing: the run has ended."""


class Executor(Protocol):
    """A place where training runs are started: this machine or another."""

    jobs: int  # number of parallel runs
    retries: int  # how often a lost run is started again

    def start(self, run: Run, folder: Path, lock: FolderLock) -> Training:
        """Start training ``run`` in ``folder``."""

    def adopt(self, run: Run, folder: Path) -> Training | None:
        """Return the :class:`Training` of ``run`` if an earlier process left it running, else ``None``."""
