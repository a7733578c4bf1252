"""Measured times of dense and sparse layers, cached in a file.

Measuring a Transformer takes 10 to 40 seconds, so later processes reuse the times. The file is in ``$LOTTERY_CACHE``,
else in ``$XDG_CACHE_HOME/lottery``, else in ``~/.cache/lottery``; it can be deleted at any time.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from lottery_core.errors import LotteryError
from lottery_core.files import read_object, write_json

_FILE = "sparse-timings.json"
_PAIRS = 7
_PATIENCE = 0.6  # seconds for one comparison, after the first three pairs
_MOST_ROWS = 2048  # beyond, the time is proportional to the number of rows

Pair = tuple[Callable[[], object], Callable[[], object]]


@dataclass(frozen=True)
class Load:
    """The size of one call of a layer.

    :param rows: number of tokens (or observations) in the call, over all sequences
    :param steps: length of the sequences, for an LSTM
    """

    rows: int
    steps: int = 1

    def rounded(self) -> Load:
        """Return the load that is measured in its place: at most 25% more rows, and at most 2048."""
        batch = max(1, self.rows // self.steps)
        steps = min(self.steps, 32)
        return Load(_round(min(batch * steps, _MOST_ROWS) // steps) * steps, steps)


def _round(count: int) -> int:
    if count <= 8:
        return max(1, count)
    unit = 1 << (count.bit_length() - 3)
    return -(-count // unit) * unit


class Timings:
    """Cache of the times of dense and sparse layers, in seconds.

    :param folder: folder of the cache file, by default the one in the module's docstring; if it cannot be written,
        times last only as long as this object
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._path = (folder or _folder()) / _FILE
        self._known = read_object(self._path)  # empty if the file is damaged

    def compare(self, key: str, pair: Callable[[], Pair], device: torch.device) -> tuple[float, float]:
        """Time two functions alternately, or look up their times.

        :param key: identifies the pair; together with :func:`machine` it is the key in the cache
        :param pair: makes the two functions, dense and sparse; called only if the cache lacks the key
        :param device: the device on which they run
        :returns: the minimum time of each function, in seconds
        """
        key = f"{machine(device)} {key}"
        cached = self._known.get(key)
        if isinstance(cached, list) and len(cached) == 2 and all(isinstance(t, float) and t > 0 for t in cached):
            return cached[0], cached[1]
        dense, sparse = _time_alternately(pair(), device)
        self._known[key] = [dense, sparse]
        return dense, sparse

    def save(self) -> None:
        """Write new times to the file, and keep those that other processes have added meanwhile."""
        others = read_object(self._path)
        if self._known.items() <= others.items():
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self._path, {**others, **self._known})
        except (LotteryError, OSError):
            pass  # only a cache: the next process measures again


def _time_alternately(pair: Pair, device: torch.device) -> tuple[float, float]:
    times: tuple[list[float], list[float]] = ([], [])
    for function in pair:
        function()
    started = time.perf_counter()
    for number in range(_PAIRS):
        for function, seconds in zip(pair, times, strict=True):
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            start = time.perf_counter()
            function()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds.append(time.perf_counter() - start)
        if number >= 2 and time.perf_counter() - started > _PATIENCE:
            break
    return min(times[0]), min(times[1])


def machine(device: torch.device) -> str:
    """Describe what times depend on besides the layer: processor, number of threads and version of torch."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)} torch={torch.__version__}"
    return f"{_processor()} threads={torch.get_num_threads()} torch={torch.__version__}"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _folder() -> Path:
    folder = os.environ.get("LOTTERY_CACHE")
    if folder:
        return Path(folder)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lottery"
    except RuntimeError:  # no home folder, as in some containers
        return Path(os.devnull)
