"""Ways to run a model that take turns, and the table of what was measured."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def turns(ways: dict[str, Callable[[], float]], pairs: int) -> dict[str, float]:
    """Call each way in turn, after a first round that does not count; medians of what they return."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(pairs + 1):
        for name, call in ways.items():
            value = call()
            if turn:
                found[name].append(value)
    return {name: statistics.median(values) for name, values in found.items()}


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def megabytes(path: Path) -> float:
    files = [path] if path.is_file() else [file for file in path.iterdir() if file.name != "lottery.json"]
    return sum(file.stat().st_size for file in files) / 1e6


def table(title: str, rows: list[Row]) -> None:
    """Print rows as a table in Markdown."""
    columns = list(rows[0])
    print(f"\n{title}\n\n| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
    for row in rows:
        cells = [f"{row[name]:,.4g}" if isinstance(row[name], float) else str(row[name]) for name in columns]
        print(f"| {' | '.join(cells)} |", flush=True)
