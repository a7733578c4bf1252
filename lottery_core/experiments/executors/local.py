"""Training runs as processes on this machine, several side by side."""

from __future__ import annotations

import ctypes
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lottery_core.errors import ConfigError, RunError, WriteError
from lottery_core.experiments import paths
from lottery_core.experiments.plan import Run
from lottery_core.files import FolderLock, disk_full, last_line, read_object

_LIBC = ctypes.CDLL(None)  # loaded here: between fork and exec nothing may wait for a lock
_PATIENCE = 3.0  # seconds between asking a process to end and ending it


class Processes:
    """Starts each run as a process of its own session, with its output appended to ``train.log``.

    :param command: the command line of a run, from :meth:`lottery_core.experiments.protocols.Framework.command`
    :param jobs: how many at a time, at least 1
    :param threads: threads of each process, always the same so that the bits do not depend on ``jobs``
    :param gpus: one of these is given to each process as its ``CUDA_VISIBLE_DEVICES``, that with the fewest; where
        there are none, each sees what this process sees
    :raises ConfigError: ``jobs`` or ``threads`` below 1
    """

    def __init__(
        self,
        command: Callable[[Run, Path], list[str]],
        jobs: int = 1,
        threads: int = 1,
        gpus: Sequence[str] = (),
    ) -> None:
        if jobs < 1:
            raise ConfigError(f"--jobs must be at least 1, not {jobs}")
        if threads < 1:
            raise ConfigError(f"--threads must be at least 1, not {threads}")
        self.command, self.jobs, self.threads = command, jobs, threads
        self.retries = 0  # what failed here would fail again
        self.gpus = list(gpus)
        self._on_gpu: dict[str, list[subprocess.Popen[bytes]]] = {gpu: [] for gpu in gpus}

    def start(self, run: Run, folder: Path, lock: FolderLock) -> Process:
        """Start the training of ``run`` in ``folder``; it holds ``lock`` as long as it lives.

        :raises RunError: the command cannot be started
        :raises WriteError: the log cannot be written
        """
        command = self.command(run, folder)
        environment = child_environment(self.threads)
        gpu = min(self._on_gpu, key=self._busy, default=None)
        if gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = gpu
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with open(folder / paths.LOG, "ab") as log:
                log.write(f"\n{time.strftime('%Y-%m-%d %H:%M:%S')} {shlex.join(command)}\n".encode())
                log.flush()
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    start_new_session=True,
                    pass_fds=(lock.fileno,),
                    preexec_fn=die_with(os.getpid()),
                )
        except FileNotFoundError as error:
            raise RunError(f"cannot start {command[0]}: {error.strerror}") from error
        except OSError as error:
            raise WriteError(f"cannot write {folder / paths.LOG}: {error.strerror or error}") from error
        if gpu is not None:
            self._on_gpu[gpu].append(process)
        return Process(process, folder)

    def adopt(self, run: Run, folder: Path) -> None:
        """None: a process ends with the command that started it."""

    def _busy(self, gpu: str) -> int:
        return sum(process.poll() is None for process in self._on_gpu[gpu])


class Process:
    """A training process, see :class:`Processes`."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self._process, self._folder = process, folder

    def finished(self) -> bool:
        """Whether it has ended well.

        :raises RunError: it has ended badly; gives the last line of its log
        """
        code = self._process.poll()
        if code:
            raise RunError(failure(self._folder, code), 2 if code == 2 else 1)
        return code == 0

    def progress(self) -> Mapping[str, Any]:
        """What the process last wrote into ``progress.json``."""
        return read_object(self._folder / paths.PROGRESS)

    def stop(self) -> None:
        """End it and the processes it started: ask, wait three seconds, then kill."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, number)
                self._process.wait(_PATIENCE)
                return
            except ProcessLookupError:
                return
            except subprocess.TimeoutExpired:
                continue

    def cancel(self) -> None:
        """See :meth:`stop`."""
        self.stop()


def child_environment(threads: int) -> dict[str, str]:
    """The environment of a training: this process's, with so many threads, and output line by line."""
    numbers = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    return {**os.environ, "PYTHONUNBUFFERED": "1", **numbers}


def failure(folder: Path, code: int) -> str:
    """Why a training failed: the last line of its log, how it ended, and where the log is.

    :param folder: of the run
    :param code: exit status of its command, negative for a signal
    """
    how = f"killed by signal {-code}" if code < 0 else f"exit {code}"
    # The log itself may have had no room for the reason.
    room = "; the disk is full" if disk_full(folder) else ""
    return f"{last_line(folder / paths.LOG)} ({how}{room}, see {folder / paths.LOG})"


def die_with(parent: int) -> Callable[[], None] | None:
    """A ``preexec_fn`` for a child of the process ``parent``: the child ends with it (on Linux; elsewhere ``None``).

    A kill -9 of a command must not leave trainings behind that write into the folder of the next one.
    """
    return partial(_die_with, parent) if sys.platform == "linux" else None


def _die_with(parent: int) -> None:
    set_death_signal = 1
    _LIBC.prctl(set_death_signal, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)
