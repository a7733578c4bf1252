"""Read mutated files in numbers: tracebacks, messages of several lines, hangs, crashes, and the peak of memory.

    python -m tests.benchmarks.fuzz N [READER ...] [--seed S] [--only K]

READER: ticket, sparse, checkpoint, weights, folder (all of them by default). ``--only K`` tries mutant K alone, leaves
its files in a folder and says which. A mutant that takes more than 5 CPU seconds is a hang. Each reader runs in a
process of its own, which is started again behind a mutant that kills it. The exit status is 1 where anything was found.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from tests.lottery_core.fuzzing import READERS, mutant, try_mutant

MOST_SECONDS = 5.0  # CPU seconds of a mutant
PATIENCE = 120  # wall-clock seconds without a sign of life
MOST_MEMORY = 1 << 30  # bytes that a mutant of a few kB may take


class HangError(BaseException):
    """The mutant takes too long; no reader catches it."""


def peak() -> int:
    """Peak resident memory since :func:`forget_peak`, in bytes."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def forget_peak() -> int:
    """Start counting the peak anew where the system can (Linux), and return what is in memory now."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak()


def child(name: str, first: int, last: int, seed: int, folder: Path) -> None:
    """Try some mutants of one reader; a line of JSON for each thing of note, and for every hundredth mutant."""

    def stop(*_: Any) -> None:
        raise HangError

    def say(**values: Any) -> None:
        print(json.dumps(values), file=sys.__stdout__, flush=True)

    torch.set_num_threads(1)
    signal.signal(signal.SIGPROF, stop)
    reader = READERS[name]
    for part in ("seeds", "mutant"):
        shutil.rmtree(folder / part, ignore_errors=True)
        (folder / part).mkdir(parents=True)
    seeds = reader.seeds(folder / "seeds")
    slowest, largest = (0.0, 0), (0, 0)
    for number in range(first, last):
        (folder / "number").write_text(str(number))
        mutant(reader, seeds, seed, number, folder / "mutant")
        before, began = forget_peak(), time.process_time()
        signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
        try:
            finding = try_mutant(reader, number, folder / "mutant")
        except HangError:
            say(number=number, hang=True)
            finding = None
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        seconds, memory = time.process_time() - began, peak() - before
        if finding is not None:
            say(number=number, what=finding.what)
        if memory > MOST_MEMORY:
            say(number=number, what=f"it took {memory >> 20} MiB")
        slowest, largest = max(slowest, (seconds, number)), max(largest, (memory, number))
        if number % 100 == 99 or number + 1 == last:
            say(number=number, slowest=slowest, largest=largest)


def try_reader(name: str, count: int, seed: int, folder: Path) -> int:
    """Try the mutants of a reader in processes of their own; print what was found and how long it took.

    :returns: how many findings there were
    """
    findings, most_seconds, most_memory, first, began = 0, (0.0, 0), (0, 0), 0, time.monotonic()
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    while first < count:
        command = [sys.executable, __file__, "--child", name, str(first), str(count), str(seed), str(folder)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert process.stdout is not None
        signal.signal(signal.SIGALRM, lambda *_, process=process: process.kill())
        signal.alarm(PATIENCE)
        for line in process.stdout:
            signal.alarm(PATIENCE)
            told = json.loads(line)
            number = told["number"]
            if "slowest" in told:
                most_seconds = max(most_seconds, tuple(told["slowest"]))
                most_memory = max(most_memory, tuple(told["largest"]))
            else:
                findings += 1
                print(f"{name} {number}: {told.get('what') or f'more than {MOST_SECONDS:g} CPU seconds'}", flush=True)
        code = process.wait()
        signal.alarm(0)
        if code == 0:
            break
        number = int((folder / "number").read_text())
        findings += 1
        print(f"{name} {number}: the process ended with status {code}", flush=True)
        first = number + 1
    cpu = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    seconds, memory = (
        f"{most_seconds[0]:.2f} CPU s ({most_seconds[1]})",
        f"{most_memory[0] >> 20} MiB ({most_memory[1]})",
    )
    whole = f"{cpu:.0f} CPU s, {time.monotonic() - began:.0f} s"
    print(
        f"{name}: {count:,} mutants of seed {seed}, {findings} findings; {whole}; at most {seconds}, {memory}",
        flush=True,
    )
    return findings


def main() -> int:
    """Try mutants of the readers that were asked for."""
    if sys.argv[1:2] == ["--child"]:
        name, first, last, seed, folder = sys.argv[2:]
        child(name, int(first), int(last), int(seed), Path(folder))
        return 0
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", type=int, metavar="N", help="mutants of each reader")
    parser.add_argument("readers", nargs="*", metavar="READER", help=f"{', '.join(READERS)} (all)")
    parser.add_argument("--seed", type=int, default=1, metavar="S")
    parser.add_argument("--only", type=int, metavar="K", help="this mutant alone; its files are kept")
    args = parser.parse_args()
    unknown = set(args.readers) - set(READERS)
    if unknown:
        parser.error(f"unknown reader {min(unknown)}; accepted: {', '.join(READERS)}")
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    names = args.readers or list(READERS)
    if args.only is not None:
        for name in names:
            child(name, args.only, args.only + 1, args.seed, folder / name)
            print(f"{name} {args.only}: {folder / name / 'mutant'}")
        return 0
    findings = 0
    for name in names:
        (folder / name).mkdir()
        findings += try_reader(name, args.count, args.seed, folder / name)
    shutil.rmtree(folder)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
