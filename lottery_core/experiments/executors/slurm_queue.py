"""Slurm on this machine: the options of a job, and the queue as ``squeue`` lists it."""

from __future__ import annotations

import getpass
import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lottery_core.errors import ConfigError, RunError, unknown_choice
from lottery_core.experiments.graph import paths
from lottery_core.files import read_object

PREFIX = "lottery"  # of the names of all jobs

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

_FLAGS = ("exclusive",)  # options that may stand without a value
_NEXT = re.compile(rf",(?=\s*(?:,|$|[\w-]+=|(?:{'|'.join(_FLAGS)})\b))")


def slurm_options(text: str) -> dict[str, Any]:
    """Parse options of submitit's Slurm executor.

    :param text: ``"partition=gpu,gpus_per_node=8,exclusive"``; may be empty. A comma that no ``name=`` follows belongs
        to the value: ``"exclude=n1,n2"``
    :returns: option -> value; numbers as ``int`` (``mem_gb`` also as ``float``), words alone as ``True``
    :raises ConfigError: submitit is not installed, the text is not of this form, or submitit has no such option
    """
    options: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in re.split(_NEXT, text))):
        name, equals, value = (word.strip() for word in part.partition("="))
        name = name.replace("-", "_")
        if name in _FLAGS and value.lower() in ("", "true", "1"):
            options[name] = True
        elif not equals or not name or not value:
            raise ConfigError(f"--slurm takes name=value,name=value; '{part}' is not of this form")
        else:
            options[name] = _value(value, name)
    submitit = submitit_module()
    generic = submitit.AutoExecutor._typed_parameters()
    known = {*generic, *submitit.SlurmExecutor._valid_parameters()} - _RESERVED
    for name, value in options.items():
        if name not in known:
            raise unknown_choice(name, "Slurm option", known)
        kinds = (int, float) if name == "mem_gb" else (int,)
        typed = name in generic and name != "gpus_per_node"  # "a100:8" is Slurm's own form
        if typed and (not isinstance(value, kinds) or isinstance(value, bool)):
            kind = "number" if name == "mem_gb" else "whole number"
            raise ConfigError(f"Slurm option {name} must be a {kind}, not '{value}'")
    return options


def _value(text: str, name: str) -> int | float | str:
    # Names such as 0042 are no numbers.
    if name == "mem_gb" and re.fullmatch(r"\d+\.\d+", text):
        return float(text)
    return int(text) if text.isdigit() and str(int(text)) == text else text


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


def submitted_job(folder: Path) -> tuple[str, str] | None:
    """Return the token and the name of the job that an earlier command submitted for a run; ``None`` if there is none.

    :param folder: the run's folder
    """
    submitted = read_object(folder / paths.JOB)
    token, name = str(submitted.get("token")), str(submitted.get("name"))
    # Jobs are cancelled by their name.
    return (token, name) if re.fullmatch(rf"{PREFIX}-[\w.-]+-[0-9a-f]{{12}}", name) else None


def exit_status(folder: Path, token: str) -> int | None:
    """Return the exit status of a job's command; ``None`` if it has not ended, or the job was killed.

    :param folder: the run's folder
    :param token: the job's token
    """
    end = read_object(folder / paths.JOB_END)
    code = end.get("code")
    return code if end.get("token") == token and type(code) is int else None


def check_no_job(folder: Path) -> None:
    """Check that no job of Slurm trains in a folder, before a process of this machine does.

    :param folder: the run's folder
    :raises RunError: a job does, or squeue does not answer
    """
    submitted = submitted_job(folder.absolute())
    if submitted is None or shutil.which("squeue") is None:  # a copy of the folder, on a machine without Slurm
        return
    token, name = submitted
    if exit_status(folder, token) is not None:
        return
    queue = Queue()
    state = queue.certain_state(name)
    if state is not None:
        raise RunError(
            f"job {queue.number(name)} of an earlier command still trains it ({state.lower()}): go on with --executor "
            f"slurm, or cancel it by: scancel --name {name}",
            2,
        )


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

    def certain_state(self, name: str) -> str | None:
        """Return Slurm's state of a job; ``None`` if the job is certainly not in the queue.

        :param name: the job's name
        :raises RunError: Slurm does not answer, so the job may still be running
        """
        state = self.state(name)
        if state is None and self.problem:
            raise RunError(f"squeue does not answer ({self.problem}), and {name} may still be running")
        return state

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
