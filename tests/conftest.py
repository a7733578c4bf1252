"""Shared by all tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

Result = subprocess.CompletedProcess[str]


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """One thread: several times faster for tiny networks, and the bits that the runs themselves have."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Times that a test measures are no use to anybody else, nor anybody's to a test."""
    os.environ["LOTTERY_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def call() -> Callable[..., Result]:
    """Run a module of the project as a real process: ``call("lottery_core.cli", "inspect", path)``."""

    def run(module: str, *args: object, timeout: float = 240, **environment: str) -> Result:
        return subprocess.run(
            [sys.executable, "-m", module, *map(str, args)],
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            check=False,
        )

    return run


def one_line(result: Result, *words: str) -> str:
    """Assert that a command refused its input with exit 2 and one line with ``words`` in it; the line."""
    lines = result.stderr.strip().splitlines()
    assert result.returncode == 2, (result.returncode, result.stderr[-2000:])
    assert len(lines) == 1, result.stderr
    for word in words:
        assert word in lines[0], (word, lines[0])
    return lines[0]


@pytest.fixture
def no_write(tmp_path: Path) -> Path:
    """A path that nobody can write, not even root: a folder that is a file."""
    file = tmp_path / "a-file"
    file.write_text("")
    return file / "inside"
