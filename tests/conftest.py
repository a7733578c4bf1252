"""Shared by all tests."""

from __future__ import annotations

import gc
import logging
import os
import random
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

# Before anything asks for GPUs: the tests train on the CPU, where a framework must not count those of the machine.
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy
import pytest
import torch

from tests import preloaded

preloaded.install()
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a shell; commands would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)
Result = subprocess.CompletedProcess[str]
_begun = [""]  # files of tests


def draw_alike(name: str) -> None:
    """Seed what draws numbers at random: a test draws the same ones wherever, whenever and beside whatever it runs."""
    seed = zlib.crc32(name.encode())
    random.seed(seed)
    numpy.random.seed(seed)
    # Not torch.manual_seed, which formats the stack for each accelerator that is not in use, 2% of the suite.
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


def pytest_collectstart(collector: pytest.Collector) -> None:
    if isinstance(collector, pytest.Module):
        draw_alike(collector.nodeid)


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object]) -> None:
    draw_alike(f"{fixturedef.baseid}:{fixturedef.argname}")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    draw_alike(item.nodeid)


def pytest_runtest_logstart(nodeid: str) -> None:
    """Leave what lives when a file begins out of later collections of garbage: frameworks are a million objects."""
    file = nodeid.partition("::")[0]
    if file != _begun[-1]:
        _begun.append(file)
        gc.collect()
        gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """One thread: several times faster for tiny networks, and the bits that the runs themselves have."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Times that a test measures are no use to anybody else, nor anybody's to a test; nor is the key of signatures."""
    os.environ["LOTTERY_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(autouse=True)
def starts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands start from nothing in a test with the mark ``real_starts``."""
    if request.node.get_closest_marker("real_starts"):
        monkeypatch.setenv(preloaded.REAL, "1")


@pytest.fixture(autouse=True)
def log_level() -> Iterator[None]:
    """A command that is called in this process may raise the level of all logs."""
    level = logging.root.level
    yield
    logging.root.setLevel(level)


@pytest.fixture
def call() -> Callable[..., Result]:
    """Run a module of the project as a real process: ``call("lottery_core.cli", "inspect", path)``."""

    def run(module: str, *args: object, timeout: float = 900, **environment: str) -> Result:
        return subprocess.run(
            [sys.executable, "-m", module, *map(str, args)],
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            check=False,
        )

    return run


def wait_until(condition: Callable[[], bool], seconds: float = 900) -> bool:
    """Wait for something; whether it came."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


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


class SmallDisk:
    """A file system in memory, small enough to be filled.

    :param folder: where it is mounted
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    @property
    def free(self) -> int:
        """KiB that are left."""
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize // 1024

    def fill(self, leave: int) -> None:
        """Fill it up to ``leave`` KiB."""
        self.empty()
        count = self.free - leave
        assert count > 0, f"{self.free} KiB are left"
        self._filler.write_bytes(bytes(1024 * count))

    def empty(self) -> None:
        """Take away what :meth:`fill` wrote."""
        self._filler.unlink(missing_ok=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk of 2 MiB; skipped where this user may not mount one (tests with RLIMIT_FSIZE run everywhere)."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"no small disk to fill: {error}")
    if done.returncode:
        pytest.skip(f"no small disk to fill: {done.stderr.strip()}")
    yield SmallDisk(folder)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
