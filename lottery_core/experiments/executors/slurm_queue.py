"""What Slurm has here: the options that a job may be given, and the queue, as ``squeue`` tells it."""

from __future__ import annotations

import getpass
import shutil
import subprocess
import time
from typing import Any

from lottery_core.errors import ConfigError, unknown_choice

# What submitit would also take, but a job of ours has its own of.
_OURS = {"name", "job_name", "use_srun", "additional_parameters", "setup", "teardown", "srun_args", "stderr_to_stdout"}


def slurm_options(text: str) -> dict[str, Any]:
    """``"partition=gpu,gpus_per_node=8"`` as a dict: options of submitit's Slurm executor, numbers as numbers.

    :raises ConfigError: no submitit, another form, or an option that submitit does not know
    """
    found: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals or not name or not value:
            raise ConfigError(f"--slurm takes name=value,name=value; '{part}' is not of this form")
        found[name.strip().replace("-", "_")] = int(value) if value.isdigit() else value
    submitit = submitit_module()
    generic = submitit.AutoExecutor._typed_parameters()
    known = {*generic, *submitit.SlurmExecutor._valid_parameters()} - _OURS
    for name, value in found.items():
        if name not in known:
            raise unknown_choice(name, "Slurm option", known)
        if name in generic and not isinstance(value, int):
            raise ConfigError(f"Slurm option {name} must be a whole number, not '{value}'")
    return found


def submitit_module() -> Any:
    try:
        import submitit
    except ImportError as error:
        raise ConfigError(
            "--executor slurm needs submitit, which is not installed: pip install submitit (or this project's 'slurm')"
        ) from error
    return submitit


def require_slurm() -> None:
    """:raises ConfigError: Slurm's commands are not here"""
    missing = [name for name in ("sbatch", "squeue", "srun") if shutil.which(name) is None]
    if missing:
        raise ConfigError(f"--executor slurm needs Slurm's commands; {', '.join(missing)} cannot be found here")


class Queue:
    """The user's own jobs in Slurm's queue, by name; asked for at most every :attr:`every` seconds."""

    every = 5.0
    patience = 60.0  # seconds for an answer

    def __init__(self) -> None:
        self._jobs: dict[str, tuple[str, str]] = {}
        self._asked = -float("inf")

    def state(self, name: str, now: bool = False) -> str | None:
        """Slurm's word for the state of the job ``name``, e.g. ``"PENDING"``; ``None`` where there is none.

        :param now: ask again in any case
        """
        if now or time.monotonic() - self._asked >= self.every:
            self._ask()
        found = self._jobs.get(name)
        return None if found is None else found[0]

    def number(self, name: str) -> str:
        """The number of the job ``name``, as last seen."""
        return self._jobs.get(name, ("", "?"))[1]

    def cancel(self, name: str) -> None:
        """End the job ``name``."""
        subprocess.run(["scancel", "--name", name, "--user", getpass.getuser()], check=False, capture_output=True)
        self._asked = -float("inf")

    def _ask(self) -> None:
        command = ["squeue", "--noheader", "--user", getpass.getuser(), "--format", "%j|%T|%i"]
        try:
            answer = subprocess.run(command, capture_output=True, text=True, timeout=self.patience, check=True).stdout
        except (OSError, subprocess.SubprocessError):
            return  # the controller may be away for a while: what was known stays
        self._asked = time.monotonic()
        rows = [line.strip().rsplit("|", 2) for line in answer.splitlines() if line.count("|") >= 2]
        self._jobs = {name: (state, number) for name, state, number in rows}
