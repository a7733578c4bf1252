"""Runs as processes on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lottery_core.experiments import Run, paths
from lottery_core.experiments.executors.local import Processes
from lottery_core.files import FolderLock
from tests.conftest import wait_until

SLEEPING = {1: "60000", 2: "0.2"}  # by round: the first one would be waited for all day


def command(run: Run, folder: Path) -> list[str]:
    return ["sleep", SLEEPING[run.round]]


@pytest.mark.parametrize("linux", [True, False])
def test_a_rest_ends_with_the_first_run_that_does(linux: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executor, slept = Processes(command, jobs=2), list[float]()
    if not linux:
        monkeypatch.delattr("os.pidfd_open", raising=False)
        monkeypatch.setattr("time.sleep", slept.append)
    with FolderLock(tmp_path) as lock:
        trainings = [executor.start(run, tmp_path / str(run.round), lock) for run in (Run(1, "a", 1), Run(1, "a", 2))]
        try:
            executor.rest(50_000)
            if linux:
                assert [training.finished() for training in trainings] == [False, True]
                assert len(executor._started) == 2
                executor.rest(0.01)  # what has ended is not waited for again
                assert len(executor._started) == 1
            else:
                assert slept == [50_000]
        finally:
            for training in trainings:
                training.cancel()


def test_a_folder_whose_name_is_no_text(tmp_path: Path) -> None:
    """As Latin-1 file systems have them: the command is started, and its line in the log has a question mark."""
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    executor = Processes(lambda run, folder: ["test", "-d", str(folder)])
    with FolderLock(tmp_path) as lock:
        training = executor.start(Run(1, "a", 1), folder, lock)
        assert wait_until(training.finished)
    assert "caf?" in (folder / paths.LOG).read_text()
