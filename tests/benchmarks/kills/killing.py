"""For the benchmarks that kill a chain: start its command, look what is under way, compare what came out."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lottery_core.experiments.results import read_rows


def start(words: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start the command of a chain."""
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(words: Sequence[str]) -> None:
    """Run the command of a chain to its end."""
    driver = start(words)
    _, errors = driver.communicate()
    if driver.returncode:
        sys.exit(f"the command failed: {errors.decode()}")


def children(process: int) -> list[int]:
    """Processes that the process has started."""
    path = Path(f"/proc/{process}/task/{process}/children")
    try:
        return [int(word) for word in path.read_text().split()]
    except OSError:
        return []


def finished(out: Path) -> int:
    """How many runs of a chain are done."""
    return len(list(out.rglob("result.json")))


def wait_until(condition: Callable[[], bool], driver: subprocess.Popen[bytes]) -> None:
    """Wait for ``condition``, or for the end of the command."""
    while not condition() and driver.poll() is None:
        time.sleep(0.05)


def outcome(out: Path) -> tuple[dict[str, str], dict[str, str]]:
    """SHA-256 of each ticket file, and each score in full."""
    paths = sorted(out.rglob("ticket.safetensors"))
    tickets = {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    return tickets, {str(row.run): float(row.score).hex() for row in read_rows(out)}
