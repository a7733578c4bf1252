"""A finished experiment that the tests of the command share."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Result
from tests.sb3_lottery.helpers import SMALL


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A small experiment, done once by the real command."""
    out = tmp_path_factory.mktemp("cli") / "small"
    more = ["--out", str(out), "--jobs", "2", "--kinds", "winning", "random", "shuffled", "--tensorboard"]
    command = [sys.executable, "-m", "sb3_lottery.cli", *shlex.split(SMALL), *more]
    return out, subprocess.run(command, capture_output=True, text=True, check=False)
