"""Training runs as jobs of a Slurm cluster, submitted through submitit.

A job outlives the command that submitted it. It is identified by a token, which is written to ``job.json`` before the
job is submitted, is part of the job's name, and is written to ``job-end.json`` by the job as its last step. A command
that is run again after it was stopped or killed uses the token to find its jobs.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lottery_core.errors import ConfigError, LostError, RunError
from lottery_core.experiments.executors.local import child_environment, die_with, failure
from lottery_core.experiments.executors.slurm_queue import (
    PREFIX,
    Queue,
    exit_status,
    require_slurm,
    submitit_module,
    submitted_job,
)
from lottery_core.experiments.graph import Run, paths
from lottery_core.files import FolderLock, last_line, read_object, write_json

RETRIES = 2
MANY = 1000  # default number of queued jobs; Slurm schedules them
_DEFAULTS: dict[str, Any] = {"timeout_min": 24 * 60}  # submitit's default is 5 minutes
_ALIVE = {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "RESIZING", "STAGE_OUT"}
_KILLED = {"CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE"}


class Slurm:
    """An executor that submits each run as a job of a Slurm cluster.

    It implements :class:`lottery_core.experiments.protocols.Executor`.

    :param command: returns the command line of a run, see
        :meth:`lottery_core.experiments.protocols.Framework.command`
    :param out: the experiment's folder, on a file system that all nodes share
    :param options: options of each job, from :func:`lottery_core.experiments.executors.slurm_queue.slurm_options`
    :param jobs: maximum number of queued or running jobs, at least 1
    :param threads: CPU threads of each run, at least 1
    :param retries: how often a run whose job failed or vanished is submitted again
    :param require_installed: whether Slurm must be installed on this machine; a dry run does not need it
    :raises ConfigError: Slurm is not installed, or a number is out of range
    """

    def __init__(
        self,
        command: Callable[[Run, Path], list[str]],
        out: Path,
        options: Mapping[str, Any],
        jobs: int = MANY,
        threads: int = 1,
        retries: int = RETRIES,
        require_installed: bool = True,
    ) -> None:
        if jobs < 1:
            raise ConfigError(f"--jobs must be at least 1, not {jobs}")
        if threads < 1:
            raise ConfigError(f"--threads must be at least 1, not {threads}")
        if retries < 0:
            raise ConfigError(f"--retries must not be negative, not {retries}")
        if require_installed:
            require_slurm()
        self.command, self.options = command, dict(options)
        self.out = out.absolute()
        self.logs = self.out / ".jobs"
        self.jobs, self.threads, self.retries = jobs, threads, retries
        self.queue = Queue()

    def start(self, run: Run, folder: Path, lock: FolderLock) -> Job:
        """Submit ``run`` as a job.

        :param run: the run to train
        :param folder: the run's folder
        :param lock: the experiment's lock; it stays with this process
        :returns: the submitted job
        :raises RunError: Slurm refuses the job
        """
        folder = folder.absolute()
        token = uuid.uuid4().hex[:12]
        name = re.sub(r"[^\w.-]", "-", f"{PREFIX}-{self.out.name}-{run}-{token}")
        # Written before submitting, so that a kill in between leaves no unknown job.
        write_json(folder / paths.JOB, {"token": token, "name": name})
        work = Work(self.command(run, folder), folder, token, self.threads)
        try:
            number = self._executor(name).submit(work).job_id
        except Exception as error:  # submitit raises various types, with Slurm's message
            reason = " ".join(str(error).split())[:300]
            raise RunError(f"Slurm refuses the job: {reason}", 2) from error
        return Job(self.queue, folder, token, name, number, self.logs)

    def description(self) -> str:
        """Return the options of each job, for users."""
        options = {**({} if "time" in self.options else _DEFAULTS), **self.options}
        return "each job: " + ", ".join(f"{name}={value}" for name, value in sorted(options.items()))

    def _executor(self, name: str) -> Any:
        executor = submitit_module().AutoExecutor(self.logs, cluster="slurm")
        generic = executor._typed_parameters()
        options = {
            key if key in generic and not isinstance(value, str) else f"slurm_{key}": value
            for key, value in self.options.items()
        }
        executor.update_parameters(
            **({} if "slurm_time" in options else _DEFAULTS) | options,
            name=name,
            # The run may call srun itself, and the folder would not be prepared for a requeued job.
            slurm_use_srun=False,
            slurm_additional_parameters={"no-requeue": True},
        )
        return executor

    def adopt(self, run: Run, folder: Path) -> Job | None:
        """Return the job of ``run`` that an earlier command left queued or that has succeeded since, else ``None``.

        :raises RunError: Slurm does not answer, so the job may still be running
        """
        folder = folder.absolute()
        submitted = submitted_job(folder)
        if submitted is None:
            return None
        token, name = submitted
        job = Job(self.queue, folder, token, name, logs=self.logs)
        code = job.code()
        if code is not None:
            return job if code == 0 else None
        return job if self.queue.certain_state(job.name) is not None else None


class Job:
    """A run that was submitted as a Slurm job.

    It implements :class:`lottery_core.experiments.protocols.Training`.

    :param queue: Slurm's queue
    :param folder: the run's folder
    :param token: identifier that the job writes to ``job-end.json``
    :param name: the job's name in the queue
    :param number: Slurm's job id, if known
    :param logs: folder with submitit's logs of the job, by default ``folder``
    """

    grace = 15.0  # seconds until a file written on another node must be visible

    def __init__(
        self, queue: Queue, folder: Path, token: str, name: str, number: str = "", logs: Path | None = None
    ) -> None:
        self.queue, self.folder, self.token, self.name, self.number = queue, folder, token, name, number
        self.logs = folder if logs is None else logs
        self._missed: float | None = None
        self._end, self._look = "", -1  # what scontrol said of its end, and after which look at the queue

    def code(self) -> int | None:
        """Return the exit status of the run's command; ``None`` if it has not ended, or the job was killed."""
        return exit_status(self.folder, self.token)

    def finished(self) -> bool:
        """Return whether the job has succeeded.

        :raises LostError: the job has failed and may succeed if tried again, or has vanished from the queue
        :raises RunError: the job's input was invalid
        """
        state = self.queue.state(self.name)
        code = self.code()
        if code == 0:
            return True
        if code is not None:
            reason = failure(self.folder, code)
            raise RunError(reason, 2) if code == 2 else LostError(reason)
        if state is not None:
            self._missed, self.number = None, self.queue.number(self.name)
            return False
        if self._look != self.queue.looks:
            self._look, self._end = self.queue.looks, self._ended()
        ended = self._end
        if ended in _ALIVE or self.queue.problem:  # submitted since squeue last answered
            self._missed = None
            return False
        now = time.monotonic()
        self._missed = now if self._missed is None else self._missed
        # The file of a job that succeeded may not be visible yet; a killed job writes none.
        if ended not in _KILLED and now - self._missed < self.grace:
            return False
        raise LostError(f"job {self.number} is gone from the queue{f': {ended}' if ended else ''}{self._last_words()}")

    def _last_words(self) -> str:
        # From submitit's log, if the job could not start (its node lacks a package or the folder) or Slurm ended it.
        path = self.logs / f"{self.number}_0_log.err"
        return f" ({last_line(path)}, see {path})" if path.exists() and path.stat().st_size else ""

    def _ended(self) -> str:
        # Slurm remembers an ended job for some minutes, even without accounting.
        command = ["scontrol", "--oneliner", "show", "job", self.number]
        try:
            answer = subprocess.run(command, capture_output=True, text=True, timeout=self.queue.patience, check=False)
        except (OSError, subprocess.SubprocessError):
            return ""
        return dict(word.partition("=")[::2] for word in answer.stdout.split()).get("JobState", "")

    def progress(self) -> Mapping[str, Any]:
        """Return the content of ``progress.json``, which the run updates, or the state of a queued job."""
        state = self.queue.state(self.name)
        if state not in (None, "RUNNING", "COMPLETING"):
            return {"text": f"{str(state).lower()} as job {self.queue.number(self.name)}"}
        return read_object(self.folder / paths.PROGRESS)

    def stop(self) -> str:
        """Leave the job running; return a notice that it outlives this process."""
        return f"job {self.number or self.queue.number(self.name)} ({self.folder}) keeps running"

    def cancel(self) -> None:
        """Cancel the job and wait until it has left the queue."""
        deadline = time.monotonic() + self.queue.patience
        self.queue.cancel(self.name)
        while self.queue.state(self.name, now=True) and time.monotonic() < deadline:
            time.sleep(1)


class Work:
    """The function that a job calls on its node: it runs the command and appends its output to ``train.log``.

    :param command: the run's command line
    :param folder: the run's folder
    :param token: the job's identifier; if ``job.json`` holds another, the job has been replaced and does nothing
    :param threads: CPU threads of the command
    """

    def __init__(self, command: list[str], folder: Path, token: str, threads: int) -> None:
        self.command, self.folder, self.token, self.threads = command, folder, token, threads

    def __call__(self) -> int:
        """Run the command and write its exit status to ``job-end.json``.

        :returns: the exit status of the command
        """
        if read_object(self.folder / paths.JOB).get("token") != self.token:
            print(f"{self.folder} belongs to another job now: nothing to do")
            return 0
        environment = child_environment(self.threads)
        with open(self.folder / paths.LOG, "ab") as log:
            where = f"job {os.environ.get('SLURM_JOB_ID', '?')} on {os.uname().nodename}"
            line = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {where}: {shlex.join(self.command)}"
            log.write(f"\n{line}\n".encode(errors="replace"))
            log.flush()
            try:
                process = subprocess.Popen(
                    self.command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    preexec_fn=die_with(os.getpid()),
                )
            except OSError as error:
                log.write(f"cannot start {self.command[0]}: {error.strerror or error}\n".encode(errors="replace"))
                code = 2
            else:
                code = process.wait()
        write_json(self.folder / paths.JOB_END, {"token": self.token, "code": code})
        return code
