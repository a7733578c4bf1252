"""How long two layers take on this machine, measured, and remembered for the next process.

What is remembered lies in ``$LOTTERY_CACHE``, else ``$XDG_CACHE_HOME/lottery``, else ``~/.cache/lottery``.
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
_PATIENCE = 0.6  # seconds for one comparison, once there are three pairs
_MOST_ROWS = 2048  # more rows take longer, in proportion


Pair = tuple[Callable[[], object], Callable[[], object]]


@dataclass(frozen=True)
class Load:
    """What one call of a layer has to do.

    :param rows: tokens (or observations) in the call, of all sequences
    :param steps: how many of them follow one another, for an LSTM
    """

    rows: int
    steps: int = 1

    def rounded(self) -> Load:
        """The nearest load that is measured: its rows up to 25% more, and no more than 2048."""
        batch = max(1, self.rows // self.steps)
        steps = min(self.steps, 32)
        return Load(_round(min(batch * steps, _MOST_ROWS) // steps) * steps, steps)


def _round(count: int) -> int:
    if count <= 8:
        return max(1, count)
    unit = 1 << (count.bit_length() - 3)
    return -(-count // unit) * unit


class Timings:
    """Times of pairs of functions in seconds, kept in a file.

    :param folder: where the file lies; by default as above. A folder that cannot be written is done without.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._path = (folder or _folder()) / _FILE
        self._known = read_object(self._path)  # a damaged one is empty: measured again

    def compare(self, key: str, pair: Callable[[], Pair], device: torch.device) -> tuple[float, float]:
        """Seconds that each of two functions takes, taken alternately; the least of several.

        :param key: says what is measured; with the machine's own key it stands for these times from then on
        :param pair: makes the two, dense and sparse; called where there are no times yet
        """
        key = f"{machine(device)} {key}"
        found = self._known.get(key)
        if isinstance(found, list) and len(found) == 2 and all(isinstance(one, float) and one > 0 for one in found):
            return found[0], found[1]
        found = list(_alternate(pair(), device))
        self._known[key] = found
        return found[0], found[1]

    def save(self) -> None:
        """Keep what was measured for the next process, beside what others have kept meanwhile."""
        others = read_object(self._path)
        if self._known.items() <= others.items():
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self._path, {**others, **self._known})
        except (LotteryError, OSError):
            pass  # a cache: the next process measures again


def _alternate(pair: Pair, device: torch.device) -> tuple[float, float]:
    times: tuple[list[float], list[float]] = ([], [])
    for function in pair:
        function()
    begun = time.perf_counter()
    for number in range(_PAIRS):
        for function, mine in zip(pair, times, strict=True):
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            start = time.perf_counter()
            function()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            mine.append(time.perf_counter() - start)
        if number >= 2 and time.perf_counter() - begun > _PATIENCE:
            break
    return min(times[0]), min(times[1])


def machine(device: torch.device) -> str:
    """What the times depend on beside the layer: processor, threads, torch."""
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
    chosen = os.environ.get("LOTTERY_CACHE")
    if chosen:
        return Path(chosen)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lottery"
    except RuntimeError:  # no home, as in a container
        return Path(os.devnull)
