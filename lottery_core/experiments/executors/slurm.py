"""Training runs as jobs of a Slurm cluster, which submitit writes and Slurm schedules.

A job outlives the command that submitted it. It is known by a token: in ``job.json`` before it is submitted, in its
own name, and in ``job-end.json``, which it writes last. So a command that was stopped or killed finds its jobs again.
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
from lottery_core.experiments import paths
from lottery_core.experiments.executors.local import child_environment, die_with, failure
from lottery_core.experiments.executors.slurm_queue import Queue, require_slurm, submitit_module
from lottery_core.experiments.plan import Run
from lottery_core.files import FolderLock, last_line, read_object, write_json

RETRIES = 2
MANY = 1000  # jobs in the queue at a time, where the user says nothing: Slurm schedules
_DEFAULTS: dict[str, Any] = {"timeout_min": 24 * 60}  # submitit's own is 5 minutes
_KILLED = {"CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE"}
_PREFIX = "lottery"


class Slurm:
    """Submits each run as a job; see :class:`lottery_core.experiments.protocols.Executor`.

    :param command: the command line of a run, from :meth:`lottery_core.experiments.protocols.Framework.command`
    :param out: the experiment's folder, on a file system that all nodes see
    :param options: see :func:`lottery_core.experiments.executors.slurm_queue.slurm_options`
    :param jobs: how many in the queue at a time, at least 1
    :param threads: of each run
    :param retries: how often a run whose job failed or vanished is submitted again
    :param here: whether Slurm must be here, which a plan alone does not need
    :raises ConfigError: no Slurm here, a number that cannot be, or a value that Slurm's file cannot take
    """

    def __init__(
        self,
        command: Callable[[Run, Path], list[str]],
        out: Path,
        options: Mapping[str, Any],
        jobs: int = MANY,
        threads: int = 1,
        retries: int = RETRIES,
        here: bool = True,
    ) -> None:
        if jobs < 1:
            raise ConfigError(f"--jobs must be at least 1, not {jobs}")
        if threads < 1:
            raise ConfigError(f"--threads must be at least 1, not {threads}")
        if retries < 0:
            raise ConfigError(f"--retries must not be negative, not {retries}")
        if here:
            require_slurm()
        self.command, self.options = command, dict(options)
        self.out = out.absolute()
        self.logs = self.out / ".jobs"
        self.jobs, self.threads, self.retries = jobs, threads, retries
        self.queue = Queue()

    def start(self, run: Run, folder: Path, lock: FolderLock) -> Job:
        """Submit ``run``; the lock stays with this process.

        :raises RunError: Slurm refuses the job
        """
        folder = folder.absolute()
        token = uuid.uuid4().hex[:12]
        name = re.sub(r"[^\w.-]", "-", f"{_PREFIX}-{self.out.name}-{run}-{token}")
        # First the file: a kill between the two must not leave a job that nobody knows.
        write_json(folder / paths.JOB, {"token": token, "name": name})
        work = Work(self.command(run, folder), folder, token, self.threads)
        try:
            number = self._executor(name).submit(work).job_id
        except Exception as error:  # submitit raises many kinds, Slurm's own words in them
            reason = " ".join(str(error).split())[:300]
            raise RunError(f"Slurm does not take the job: {reason}", 2) from error
        return Job(self.queue, folder, token, name, number, self.logs)

    def _executor(self, name: str) -> Any:
        made = submitit_module().AutoExecutor(self.logs, cluster="slurm")
        generic = made._typed_parameters()
        given = {key if key in generic else f"slurm_{key}": value for key, value in self.options.items()}
        made.update_parameters(
            **({} if "slurm_time" in given else _DEFAULTS) | given,
            name=name,
            # The run may call srun itself; and a job that Slurm started again would find its folder not made ready.
            slurm_use_srun=False,
            slurm_additional_parameters={"no-requeue": True},
        )
        return made

    def adopt(self, run: Run, folder: Path) -> Job | None:
        """The job of ``run`` that an earlier command left in the queue, or that has ended well since."""
        folder = folder.absolute()
        told = read_object(folder / paths.JOB)
        if not told:
            return None
        job = Job(self.queue, folder, str(told.get("token")), str(told.get("name")), logs=self.logs)
        code = job.code()
        going = code == 0 if code is not None else self.queue.state(job.name, now=True) is not None
        return job if going else None


class Job:
    """A submitted run; see :class:`lottery_core.experiments.protocols.Training`.

    :param queue: where it waits
    :param folder: of the run
    :param token: that it writes at its end
    :param name: in the queue
    :param number: Slurm's, where it is known
    :param logs: folder in which submitit keeps what the job itself says, beside the run's own log
    """

    grace = 15.0  # seconds until a file that another node wrote must be seen

    def __init__(
        self, queue: Queue, folder: Path, token: str, name: str, number: str = "", logs: Path | None = None
    ) -> None:
        self.queue, self.folder, self.token, self.name, self.number = queue, folder, token, name, number
        self.logs = folder if logs is None else logs
        self._missed: float | None = None

    def code(self) -> int | None:
        """The exit status of its command; ``None`` where it has not ended by itself."""
        told = read_object(self.folder / paths.JOB_END)
        return int(told["code"]) if told.get("token") == self.token else None

    def finished(self) -> bool:
        """Whether it has ended well.

        :raises LostError: it failed in a way that another attempt may mend, or has vanished from the queue
        :raises RunError: its input was bad
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
        ended = self._ended()
        now = time.monotonic()
        self._missed = now if self._missed is None else self._missed
        # A job that has ended well may still have to be seen to have; one that was killed leaves nothing to wait for.
        if ended not in _KILLED and now - self._missed < self.grace:
            return False
        raise LostError(f"job {self.number} is gone from the queue{f': {ended}' if ended else ''}{self._last_words()}")

    def _last_words(self) -> str:
        # Of a job that could not begin, since its node lacks a package or the folder, or that Slurm has ended.
        path = self.logs / f"{self.number}_0_log.err"
        return f" ({last_line(path)}, see {path})" if path.exists() and path.stat().st_size else ""

    def _ended(self) -> str:
        # Slurm remembers an ended job for some minutes, without its accounting, too.
        command = ["scontrol", "--oneliner", "show", "job", self.number]
        try:
            told = subprocess.run(command, capture_output=True, text=True, timeout=self.queue.patience, check=False)
        except (OSError, subprocess.SubprocessError):
            return ""
        return dict(word.partition("=")[::2] for word in told.stdout.split()).get("JobState", "")

    def progress(self) -> Mapping[str, Any]:
        """What the run last wrote into ``progress.json``, or that it waits in the queue."""
        state = self.queue.state(self.name)
        if state not in (None, "RUNNING", "COMPLETING"):
            return {"text": f"{str(state).lower()} as job {self.queue.number(self.name)}"}
        return read_object(self.folder / paths.PROGRESS)

    def stop(self) -> str:
        """It goes on: the same command will find it, and Slurm can end it."""
        return f"job {self.number or self.queue.number(self.name)} ({self.folder}) goes on"

    def cancel(self) -> None:
        """End it, and wait until it has gone."""
        give_up = time.monotonic() + self.queue.patience
        self.queue.cancel(self.name)
        while self.queue.state(self.name, now=True) and time.monotonic() < give_up:
            time.sleep(1)


class Work:
    """What a job does on its node: the run's command, its output appended to ``train.log``.

    :param command: of the run
    :param folder: of the run
    :param token: of this job; where ``job.json`` has another, this one is no longer wanted
    :param threads: of the command
    """

    def __init__(self, command: list[str], folder: Path, token: str, threads: int) -> None:
        self.command, self.folder, self.token, self.threads = command, folder, token, threads

    def __call__(self) -> int:
        """:returns: the exit status of the command, which ``job-end.json`` has, too"""
        if read_object(self.folder / paths.JOB).get("token") != self.token:
            print(f"{self.folder} has been given to another job: nothing to do")
            return 0
        environment = child_environment(self.threads)
        with open(self.folder / paths.LOG, "ab") as log:
            where = f"job {os.environ.get('SLURM_JOB_ID', '?')} on {os.uname().nodename}"
            log.write(f"\n{time.strftime('%Y-%m-%d %H:%M:%S')} {where}: {shlex.join(self.command)}\n".encode())
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
                log.write(f"cannot start {self.command[0]}: {error.strerror or error}\n".encode())
                code = 2
            else:
                code = process.wait()
        write_json(self.folder / paths.JOB_END, {"token": self.token, "code": code})
        return code
