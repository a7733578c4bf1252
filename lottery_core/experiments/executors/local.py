"""Training runs as parallel processes on this machine."""

from __future__ import annotations

import ctypes
import os
import select
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
from lottery_core.experiments.executors.slurm_queue import check_no_job
from lottery_core.experiments.graph import Run, paths
from lottery_core.files import FolderLock, disk_full, last_line, read_object

_LIBC = ctypes.CDLL(None)  # loaded early: between fork and exec nothing may wait for a lock
_PATIENCE = 3.0  # seconds between SIGTERM and SIGKILL


class Processes:
    """An executor that starts each run as a process in a session of its own and appends its output to ``train.log``.

    It implements :class:`lottery_core.experiments.protocols.Executor`.

    :param command: returns the command line of a run, see
        :meth:`lottery_core.experiments.protocols.Framework.command`
    :param jobs: number of parallel runs, at least 1
    :param threads: CPU threads of each process; independent of ``jobs``, so that results do not depend on ``jobs``
    :param gpus: values of ``CUDA_VISIBLE_DEVICES``; each process gets the one with the fewest running processes. If
        empty, each process sees the GPUs that this one sees
    :raises ConfigError: ``jobs`` or ``threads`` is below 1
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
        self.retries = 0  # a run that failed on this machine would fail again
        self.gpus = list(gpus)
        self._on_gpu: dict[str, list[subprocess.Popen[bytes]]] = {gpu: [] for gpu in gpus}
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, run: Run, folder: Path, lock: FolderLock) -> Process:
        """Start training ``run``.

        :param run: the run to train
        :param folder: the run's folder; created if missing
        :param lock: the experiment's lock, which the process holds as long as it lives
        :returns: the started process
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
                log.write(f"\n{time.strftime('%Y-%m-%d %H:%M:%S')} {shlex.join(command)}\n".encode(errors="replace"))
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
        self._started.append(process)
        return Process(process, folder)

    def rest(self, seconds: float) -> None:
        """Wait, at most until one of the processes ends.

        :param seconds: how long, if none ends
        """
        self._started = [process for process in self._started if process.returncode is None]
        ended, files = select.poll(), []
        try:
            for process in self._started:
                files.append(os.pidfd_open(process.pid))
                ended.register(files[-1], select.POLLIN)
            ended.poll(1000 * seconds)
        except (AttributeError, OSError):  # not on Linux, or too many open files
            time.sleep(seconds)
        finally:
            for file in files:
                os.close(file)

    def description(self) -> str:
        """Return how the runs are trained, for users; empty if each run has the whole machine."""
        return f"the runs share the GPUs: {'; '.join(self.gpus)}" if self.gpus else ""

    def adopt(self, run: Run, folder: Path) -> None:
        """Return ``None``: a process ends with the command that started it.

        :raises RunError: a job of Slurm that an earlier command submitted still trains the run
        """
        check_no_job(folder)

    def _busy(self, gpu: str) -> int:
        return sum(process.poll() is None for process in self._on_gpu[gpu])


class Process:
    """A training process started by :class:`Processes`.

    It implements :class:`lottery_core.experiments.protocols.Training`.
    """

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self._process, self._folder = process, folder

    def finished(self) -> bool:
        """Return whether the process has succeeded; ``False`` while it is still running.

        :raises RunError: the process has failed; the message has the last line of its log
        """
        code = self._process.poll()
        if code:
            raise RunError(failure(self._folder, code), 2 if code == 2 else 1)
        return code == 0

    def progress(self) -> Mapping[str, Any]:
        """Return the content of ``progress.json``, which the process updates."""
        return read_object(self._folder / paths.PROGRESS)

    def stop(self) -> None:
        """Stop the process and its children: SIGTERM, then SIGKILL after three seconds."""
        for signal_number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, signal_number)
                self._process.wait(_PATIENCE)
                return
            except ProcessLookupError:
                return
            except subprocess.TimeoutExpired:
                continue

    def cancel(self) -> None:
        """Stop the process as :meth:`stop` does."""
        self.stop()


def child_environment(threads: int) -> dict[str, str]:
    """Return this process's environment for a training run, with unbuffered output and ``threads`` CPU threads."""
    thread_counts = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    return {**os.environ, "PYTHONUNBUFFERED": "1", **thread_counts}


def failure(folder: Path, code: int) -> str:
    """Describe why a training run failed: the last line of its log, its exit status and the log's path.

    :param folder: the run's folder
    :param code: exit status of its command; negative for a signal
    :returns: one line
    """
    how = f"killed by signal {-code}" if code < 0 else f"exit {code}"
    # The disk may have been too full for the reason to reach the log.
    disk = "; the disk is full" if disk_full(folder) else ""
    return f"{last_line(folder / paths.LOG)} ({how}{disk}, see {folder / paths.LOG})"


def die_with(parent: int) -> Callable[[], None] | None:
    """Make a ``preexec_fn`` that kills a child process when its parent dies.

    Runs must not outlive a command killed by SIGKILL, because they would write into the folder of the next command.

    :param parent: the parent's process id
    :returns: an argument for :class:`subprocess.Popen`; ``None`` on systems other than Linux
    """
    return partial(_die_with, parent) if sys.platform == "linux" else None


def _die_with(parent: int) -> None:
    set_death_signal = 1
    _LIBC.prctl(set_death_signal, signal.SIGKILL)
    if os.getppid() != parent:  # the parent died before the line above
        os._exit(1)
