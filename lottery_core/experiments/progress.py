"""Progress of an experiment: a status line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import os
import re
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TextIO

from lottery_core.experiments.graph import COPY, LINE, Run, cost_of, needs, probe_needs, split_pace
from lottery_core.experiments.results import Row
from lottery_core.files import counted, percentage, printable
from lottery_core.pruning import DENSE

_LONGEST = 2000  # maximum characters of a line, which may quote logs and untrusted files
HEARTBEAT = 30.0  # seconds between lines on the runs in progress if the output is not a terminal


def duration(seconds: float) -> str:
    """Format a duration for users: ``"45 s"``, ``"12 min"``, ``"3 h 05 min"``; ``"an unknown time"`` for NaN."""
    if not math.isfinite(seconds):
        return "an unknown time"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def percents(row: Row) -> str:
    """Format the pruned and surviving fractions, always together to avoid confusion, and what survives by network."""
    networks = re.findall(r"(\S+)=(\d+)/(\d+)", row.networks)
    shares = ", ".join(f"{name} {int(surviving) / max(1, int(pool)):.1%}" for name, surviving, pool in networks)
    return (
        f"pruned {percentage(row.pruned_fraction)}, surviving {percentage(row.surviving_fraction)}"
        f"{shares and f' ({shares})'}"
    )


def outcome(row: Row) -> str:
    """Say what a run has reached: its score or, for a run that only searched, where it ended."""
    if row.kind == LINE:
        return f"instability {row.score:.4g}"
    return row.stopped if row.search else f"score {row.score:.4g}"


def took(row: Row) -> str:
    """Say how long a run took, or whose outcome it has because that run trained the same ticket."""
    return f"the same as {row.same_as}" if row.same_as else duration(row.wall_seconds)


def seconds_left(
    waiting: Iterable[Run], seconds: Mapping[str, Sequence[float]], jobs: int, searches: bool
) -> float | None:
    """Estimate how long the ``waiting`` runs will take.

    :param waiting: runs that are not done, each after those that it needs
    :param seconds: :attr:`Run.pace` -> seconds that such finished runs took
    :param jobs: number of parallel runs
    :param searches: whether rounds are searched in runs of their own, on which scored runs wait
    :returns: seconds; ``None`` if no duration is known or no run is waiting
    """
    known: dict[str, list[float]] = defaultdict(list)  # seconds of one training
    for pace, some in seconds.items():
        name, times = split_pace(pace)
        known[name] += [value / times for value in some]
    runs = list(waiting)
    if not any(known.values()) or not runs:
        return None
    overall = statistics.fmean(value for some in known.values() for value in some)
    each = {name: statistics.fmean(some) for name, some in known.items() if some}

    def needed(run: Run) -> list[Run]:
        return probe_needs(run) if run.kind in (COPY, LINE) else needs(run, searches)

    def seconds_of(run: Run) -> float:
        name, times = split_pace(run.pace)
        return times * each.get(name, overall)

    cost = cost_of(runs, needed, seconds_of)
    return max(cost.total / jobs, cost.critical)


def current_seconds(
    now: Mapping[str, Sequence[float]], before: Mapping[str, Sequence[float]]
) -> dict[str, list[float]]:
    """Correct the durations of earlier runs by those of the present ones.

    :param now: :attr:`Run.pace` -> seconds that runs took in this call
    :param before: the same of earlier calls, when the machine may have been busier, or asleep
    :returns: pace -> seconds: the present ones, and where there are none the median of the earlier ones, times the
        ratio of present to earlier ones that the other runs show
    """
    usual = {pace: statistics.median(some) for pace, some in before.items() if some}
    ratios = [statistics.fmean(some) / usual[pace] for pace, some in now.items() if some and usual.get(pace)]
    ratio = statistics.median(ratios) if ratios else 1.0
    return {pace: [ratio * seconds] for pace, seconds in usual.items()} | {
        pace: list(some) for pace, some in now.items() if some
    }


class Progress:
    """Prints an experiment's progress. If nobody reads it any more, the experiment goes on without it.

    :param stream: output stream; standard error by default, so that a table on standard output stays clean
    :param quiet: whether to print nothing
    :param seconds: upper limit of a run's duration, if it was measured beforehand
    """

    def __init__(self, stream: TextIO | None = None, quiet: bool = False, seconds: float | None = None) -> None:
        self.seconds = seconds
        self.stream = stream or sys.stderr
        self.quiet = quiet
        self.terminal = self.stream.isatty()
        self.total = self.done = 0
        self.jobs = 1
        self._seconds: dict[str, list[float]] = defaultdict(list)  # of the runs that finish in this call
        self._before: dict[str, list[float]] = defaultdict(list)  # of those of earlier calls
        self._waiting: list[Run] = []
        self._untrained: set[Run] = set()
        self._searches = False
        self._began: dict[Run, float] = {}
        self._last = time.monotonic()
        self._eta: str | None = None  # of the runs that wait; ``None``: some have changed since

    def begin(
        self, waiting: Iterable[Run], done: Iterable[Row], jobs: int, what: str = "", untrained: Iterable[Run] = ()
    ) -> None:
        """Show how many runs there are to do, and how long they will take.

        :param waiting: runs to do
        :param done: rows of finished runs, from which durations are estimated
        :param jobs: number of parallel runs
        :param what: description of the runs, e.g. ``"3 seeds x (dense + 2 kinds x 8 rounds)"``
        :param untrained: those runs to do that take no time, because they are copied from others or left out
        """
        self._waiting, self._seconds, self._before = list(waiting), defaultdict(list), defaultdict(list)
        self._eta, self._untrained = None, set(untrained)
        finished = list(done)
        self.done, self.total, self.jobs = len(finished), len(finished) + len(self._waiting), jobs
        self._searches = any(run.search for run in (*self._waiting, *(row.run for row in finished)))
        for row in finished:
            if not row.same_as:
                self._before[row.run.pace].append(row.wall_seconds)
        if finished:
            self.say(f"{self.done} of {counted(self.total, 'run')} {'is' if self.total == 1 else 'are'} done already")
        if self._waiting:
            self.say(f"{counted(self.total, 'run')}{what and f', {what}'}: {self._cost()}")

    def _cost(self) -> str:
        if self._before:
            left, source = self._estimate(current_seconds({}, self._before)), "as long as the runs that are done"
        elif self.seconds is not None:
            left, source = self._estimate({DENSE: [self.seconds]}), "at most, at the measured speed"
        else:
            return "how long they take is told once the first is done"
        return f"about {duration(left or 0)} with {self.jobs} at a time ({source})"

    def _estimate(self, seconds: Mapping[str, Sequence[float]]) -> float | None:
        trained = [run for run in self._waiting if run not in self._untrained]
        return seconds_left(trained, seconds, self.jobs, self._searches)

    def say(self, line: str) -> None:
        """Print one line above the status line."""
        line = printable(line, _LONGEST)
        self._print(f"\r\x1b[K{line}\n" if self.terminal else f"{line}\n")

    def started(self, run: Run) -> None:
        """Show that a run starts."""
        self._began[run] = time.monotonic()
        if not self.terminal:
            self.say(f"{self._count()} {run}: started")

    def finished(self, run: Run, row: Row) -> None:
        """Show that a run has finished with ``row``."""
        self.done += 1
        # Measured from start to end, because the process also takes seconds that its row does not count.
        began = self._began.pop(run, None)
        if not row.same_as:
            self._seconds[run.pace].append(row.wall_seconds if began is None else time.monotonic() - began)
        self._gone(run)
        self.say(f"{self._count()} {run}: {percents(row)}, {outcome(row)}, {took(row)}{self._left()}")

    def again(self, run: Run) -> None:
        """Count a finished run as waiting again."""
        self.done -= 1
        self._waiting.append(run)
        self._eta = None

    def left_out(self, run: Run) -> None:
        """Show that a run is left out."""
        self.total -= 1
        self._gone(run)
        if not run.search:
            self.say(f"{self._count()} {run}: not run: at the floor")

    def failed(self, run: Run, reason: str) -> None:
        """Show that a run has failed."""
        self.say(f"{self._count()} {run}: FAILED: {reason}")

    def status(self, running: Iterable[tuple[Run, Callable[[], Mapping[str, Any]]]]) -> None:
        """Show the runs in progress, where that is due and as far as a line has room.

        :param running: runs, each with what returns its latest progress, of which ``text`` is shown
        """
        if self.quiet or not (self.terminal or time.monotonic() - self._last > HEARTBEAT):
            return
        texts: list[str] = []
        for run, latest in running:
            text = latest().get("text")
            texts.append(f"{run}: {text}" if text else str(run))
            if sum(map(len, texts)) > _LONGEST:
                break
        if not texts:
            return
        line = printable(f"{self._count()} {' | '.join(texts)}{self._left()}", _LONGEST)
        if self.terminal:
            self._print(f"\r\x1b[K{line[: _columns(self.stream) - 1]}")
        else:
            self.say(line)
        self._last = time.monotonic()

    def end(self) -> None:
        """Clear the status line."""
        if self.terminal:
            self._print("\r\x1b[K")

    def _print(self, text: str) -> None:
        if self.quiet:
            return
        try:
            print(text, end="", file=self.stream, flush=True)
        except BrokenPipeError:  # whatever read it has ended (2>&1 | head), which is no reason to end trainings
            self.quiet = True
        except OSError:  # its disk is full, or its terminal is closed
            pass

    def _count(self) -> str:
        width = len(str(self.total))
        return f"[{self.done:{width}}/{self.total}]"

    def _gone(self, run: Run) -> None:
        self._waiting = [other for other in self._waiting if other != run]
        self._eta = None

    def _left(self) -> str:
        if self._eta is None:
            seconds = self._estimate(current_seconds(self._seconds, self._before))
            self._eta = "" if seconds is None else f"; about {duration(seconds)} left"
        return self._eta


def _columns(stream: TextIO) -> int:
    try:
        width = os.get_terminal_size(stream.fileno()).columns
    except OSError:
        width = 0
    return width or 120  # some terminals report 0
