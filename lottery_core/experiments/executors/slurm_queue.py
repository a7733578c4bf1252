"""Slurm on this machine: the options of a job, and the queue as ``squeue`` lists it."""

from __future__ import annotations

import getpass
import shutil
import subprocess
import time
from collections.abc import Mapping
from typing import Any

from lottery_core.errors import ConfigError, unknown_choice

# Options of submitit that the executor sets itself.
_RESERVED = {
    "name",
    "job_name",
    "use_srun",
    "additional_parameters",
    "setup",
    "teardown",
    "srun_args",
    "stderr_to_stdout",
}


def slurm_options(text: str) -> dict[str, Any]:
    """Parse options of submitit's Slurm executor.

    :param text: ``"partition=gpu,gpus_per_node=8"``; may be empty
    :returns: option -> value; whole numbers as ``int``
    :raises ConfigError: submitit is not installed, the text is not of this form, or submitit has no such option
    """
    options: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals or not name or not value:
            raise ConfigError(f"--slurm takes name=value,name=value; '{part}' is not of this form")
        options[name.strip().replace("-", "_")] = int(value) if value.isdigit() else value
    submitit = submitit_module()
    generic = submitit.AutoExecutor._typed_parameters()
    known = {*generic, *submitit.SlurmExecutor._valid_parameters()} - _RESERVED
    for name, value in options.items():
        if name not in known:
            raise unknown_choice(name, "Slurm option", known)
        if name in generic and not isinstance(value, int):
            raise ConfigError(f"Slurm option {name} must be a whole number, not '{value}'")
    return options


# Options of Slurm, as submitit spells them, that set the number of CPUs of a task.
_CPUS = ("cpus_per_task", "cpus_per_gpu", "exclusive")


def tasks_of_a_node(options: Mapping[str, Any]) -> int:
    """Return the number of tasks of a job on each of its nodes.

    :param options: options of the job, from :func:`slurm_options`
    """
    return _number(options, "tasks_per_node", _number(options, "ntasks_per_node", 1)) or 1


def gpus_of_a_task(options: Mapping[str, Any]) -> int:
    """Return the number of GPUs of each task of a job, or a task's share of its node's GPUs; 0 for none.

    :param options: options of the job, from :func:`slurm_options`
    """
    if "gpus_per_task" in options:
        return _number(options, "gpus_per_task", 0)
    of_a_node = _number(options, "gpus_per_node", _number(options, "gres", 0))
    return -(-of_a_node // tasks_of_a_node(options))


def with_cpus(options: Mapping[str, Any], cpus: int, cpus_of_a_gpu: int) -> dict[str, Any]:
    """Add the CPUs of a task if the options do not set them: Slurm's default is one CPU for all of its ranks.

    :param options: options of a job, from :func:`slurm_options`
    :param cpus: minimum number of CPUs of a task
    :param cpus_of_a_gpu: CPUs of a task for each of its GPUs
    """
    if any(name in options for name in _CPUS):
        return dict(options)
    return {**options, "cpus_per_task": max(cpus, gpus_of_a_task(options) * cpus_of_a_gpu)}


def _number(options: Mapping[str, Any], name: str, default: int) -> int:
    # "8", "a100:8" or "gpu:a100:8": the number comes last.
    last = str(options.get(name, default)).rpartition(":")[2]
    return int(last) if last.isdigit() else default


def submitit_module() -> Any:
    """Import submitit.

    :raises ConfigError: submitit is not installed
    """
    try:
        import submitit
    except ImportError as error:
        raise ConfigError(
            "--executor slurm needs submitit, which is not installed: pip install submitit (or this project's 'slurm')"
        ) from error
    return submitit


def require_slurm() -> None:
    """Check that Slurm's commands are installed.

    :raises ConfigError: one of them is missing; the message names it
    """
    missing = [name for name in ("sbatch", "squeue", "srun") if shutil.which(name) is None]
    if missing:
        raise ConfigError(f"--executor slurm needs Slurm's commands; not found: {', '.join(missing)}")


class Queue:
    """The user's jobs in Slurm's queue, by name; refreshed at most every :attr:`every` seconds.

    While Slurm does not answer, the last known state stays, and it is asked less and less often.

    :ivar looks: how often Slurm was asked
    :ivar problem: why the last call failed; empty if it was answered
    """

    every = 5.0  # seconds between calls of squeue
    longest = 60.0  # the same while Slurm does not answer
    patience = 60.0  # seconds to wait for an answer

    def __init__(self) -> None:
        self._jobs: dict[str, tuple[str, str]] = {}
        self._asked_at, self._pause = -float("inf"), 0.0
        self.looks = 0
        self.problem = ""

    def state(self, name: str, now: bool = False) -> str | None:
        """Return Slurm's state of a job, e.g. ``"PENDING"``; ``None`` if the job is not in the queue.

        :param name: the job's name
        :param now: whether to refresh the queue first
        """
        if now or time.monotonic() - self._asked_at >= self._pause:
            self._refresh()
        job = self._jobs.get(name)
        return None if job is None else job[0]

    def shown(self, name: str) -> str | None:
        """Return the state of a job for people, who are to know where squeue does not answer.

        :param name: the job's name
        """
        state = self.state(name)
        return "unknown, squeue does not answer" if state is None and self.problem else state

    def number(self, name: str) -> str:
        """Return the id of the job ``name``, as last seen; ``"?"`` if it was never seen."""
        return self._jobs.get(name, ("", "?"))[1]

    def cancel(self, name: str) -> None:
        """Cancel the job ``name``."""
        subprocess.run(["scancel", "--name", name, "--user", getpass.getuser()], check=False, capture_output=True)
        self._asked_at = -float("inf")

    def _refresh(self) -> None:
        command = ["squeue", "--noheader", "--user", getpass.getuser(), "--format", "%j|%T|%i"]
        try:
            answer = subprocess.run(command, capture_output=True, text=True, timeout=self.patience, check=True).stdout
        except (OSError, subprocess.SubprocessError) as error:
            # The controller may be unreachable for a while, and is not to be asked by each of many jobs.
            self._pause = min(self.longest, 2 * max(self._pause, self.every))
            self.problem = str(error)
            return
        finally:
            self._asked_at = time.monotonic()
            self.looks += 1
        self._pause, self.problem = self.every, ""
        rows = [line.strip().rsplit("|", 2) for line in answer.splitlines() if line.count("|") >= 2]
        self._jobs = {name: (state, number) for name, state, number in rows}
