"""What the commands of the core and of every plugin share: the parser, the exit status, the run of an experiment."""

from __future__ import annotations

import argparse
import io
import os
import re
import select
import shlex
import signal
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, TextIO

from lottery_core.cli.budget import parse_budget, run_within
from lottery_core.cli.completion import complete
from lottery_core.cli.help_text import HelpFormatter
from lottery_core.errors import LotteryError
from lottery_core.experiments import (
    AT_FLOOR,
    LINE,
    Executor,
    Experiment,
    Framework,
    Progress,
    Run,
    Runner,
    as_kept,
    commands,
    duration,
    floor_stop,
    kept_line,
    read_budget,
    read_marker,
    read_searches,
    seconds_left,
)
from lottery_core.files import counted, printable
from lottery_core.pruning import DENSE
from lottery_core.reports import report, saved_lines

_LISTED = re.compile(r"argument (--\S+): invalid \w+ value: '(\w+(?:,\w+)+),?'")
_LONGEST = 2000  # maximum characters of an error message, which may quote untrusted files


class Parser(argparse.ArgumentParser):
    """An argument parser that reports bad input in one line and refers to ``--help``, instead of printing the usage."""

    # Option of another tool -> what to use instead, for the message about an unknown option.
    hints: Mapping[str, str] = {}
    # Subcommands that other parsers serve, for the shell's completion.
    commands: Sequence[str] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", HelpFormatter)
        super().__init__(*args, **kwargs)

    def parse_args(self, *args: Any, **kwargs: Any) -> Any:
        """Parse, or answer the shell that completes a command line."""
        complete(self, self.commands)
        return super().parse_args(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        listed = _LISTED.search(message)
        if listed is not None:
            message += f": separate values by spaces: {listed.group(1)} {listed.group(2).replace(',', ' ')}"
        if message.startswith("unrecognized arguments"):
            words = {word.partition("=")[0] for word in message.split()}
            message += "".join(f": {hint}" for option, hint in self.hints.items() if option in words)
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def add_trust(parser: Parser) -> None:
    """Add the option ``--trust`` of commands that take their settings from a folder.

    :param parser: parser of the command
    """
    parser.add_argument(
        "--trust",
        action="store_true",
        default=False,
        help="run the code in a folder that your own commands did not write",
    )


def run_command(command: Callable[[], int | None], program: str) -> int:
    """Run ``command``, report an error in one line, and return an exit status.

    :param command: returns an exit status, or ``None`` for 0
    :param program: the program's name, with which the line begins
    :returns: 0; 2 for bad input; 1 for a failed training run; 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP
    """

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt(number)

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            with suppress(OSError):  # a terminal may lack a character, which is no reason to fail
                stream.reconfigure(errors="replace")
    ends = [signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # a terminal closes, but not that of nohup
        ends.append(signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in ends}
    try:
        return command() or 0
    except KeyboardInterrupt as interrupt:
        _tell(f"{program}: stopped; rerun the same command to resume")
        return 128 + next((number for number in ends if interrupt.args == (number,)), signal.SIGINT)
    except (LotteryError, OSError) as error:
        # Whatever read the output has ended (lottery inspect ... | head), which is no error.
        if isinstance(error, BrokenPipeError) and any(map(_is_unread, (sys.stdout, sys.stderr))):
            return 0
        if isinstance(error, BrokenPipeError):
            error = OSError(f"{error}: another process, to which this one was writing, has ended")
        _tell(f"{program}: error: {printable(error, _LONGEST)}")
        return error.status if isinstance(error, LotteryError) else LotteryError.status
    finally:
        _forget_unread(sys.stdout, BrokenPipeError)  # on a full disk the output is missing, and Python says so
        _forget_unread(sys.stderr, OSError)
        for number, handler in before.items():
            signal.signal(number, handler)


def _tell(line: str) -> None:
    with suppress(OSError):  # the terminal has closed
        print(line, file=sys.stderr)


def _is_unread(stream: TextIO | None) -> bool:
    # Whether the other end of a pipe is closed; what could not be written may be lost already.
    if stream is None:
        return False
    poll = select.poll()
    try:
        stream.flush()
        poll.register(stream.fileno(), 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    except BrokenPipeError:
        return True
    except (OSError, ValueError):  # closed, or no file
        return False


def _forget_unread(stream: TextIO, lost: type[OSError]) -> None:
    # Python would write again in the end what nobody can read, and exit with status 120.
    try:
        if stream is not None:  # closed by the shell
            stream.flush()
    except lost:
        with suppress(OSError):  # a stream that is no file
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    except OSError:
        pass


def run_experiment(
    experiment: Experiment,
    framework: Framework,
    executor: Executor,
    dry_run: bool = False,
    quiet: bool = False,
    seconds: float | None = None,
    training: Callable[[Run], str] | None = None,
    stop_at_floor: int | None = None,
    budget: str | None = None,
    chosen: Iterable[str] = (),
    finish: Callable[[Path], object] | None = None,
) -> None:
    """Train the runs of an experiment, then print its table and draw its picture.

    :param experiment: the configuration
    :param framework: the plugin's framework
    :param executor: the executor that trains the runs
    :param dry_run: whether to write nothing and only print the plan: each run with its folder and its command, whether
        it is done, and the time left
    :param quiet: whether to show no progress
    :param seconds: upper bound on the duration of a run, if it was measured beforehand
    :param training: returns the framework's own command that the command of a run starts, where there is one
    :param stop_at_floor: number of scored levels in a row at the floor after which a kind ends in its repeat
    :param budget: what the experiment may take, see :func:`lottery_core.cli.budget.parse_budget`; ``None``: no limit
    :param chosen: settings that the user chose, which a budget leaves as they are
    :param finish: called with the experiment's folder in the end; ``None`` prints its report
    :raises LotteryError: see :meth:`lottery_core.experiments.Runner.run`
    """
    if budget is not None:
        parse_budget(budget)
    if dry_run and budget is not None:
        shown = as_kept(experiment, set(chosen), budget)
        _print_plan(shown, framework, executor, seconds, training, stop_at_floor)
        print(kept_line(experiment, read_budget(experiment), budget))
        return
    if dry_run:
        _print_plan(experiment, framework, executor, seconds, training, stop_at_floor)
        return

    def run(some: Experiment) -> object:
        return Runner(some, framework, executor, Progress(quiet=quiet, seconds=seconds), stop_at_floor).run()

    if budget is None:
        run(experiment)
    else:
        run_within(budget, experiment, chosen, executor.jobs, run, Progress(quiet=quiet).say)
    if finish is None:
        report([experiment.out])
    else:
        finish(experiment.out)


def _print_plan(
    experiment: Experiment,
    framework: Framework,
    executor: Executor,
    seconds: float | None,
    training: Callable[[Run], str] | None,
    stop_at_floor: int | None,
) -> None:
    jobs = executor.jobs
    plan = experiment.plan()
    rows = {run: row for run in plan if (row := read_marker(experiment.out / run.folder, experiment)) is not None}
    stop = floor_stop(experiment, framework, rows, stop_at_floor)
    gone = set() if stop is None else {*stop.left_out(run for run in plan if run not in rows)}
    done: dict[str, list[float]] = defaultdict(list)
    waiting, finished, copied = [], 0, 0
    for run, folder, command in commands(experiment, framework):
        row = rows.get(run)
        same = None if run in gone else experiment.alike(run)
        known = f" (not run: {AT_FLOOR})" if run in gone else ""
        if row is None and same is None and run not in gone:
            waiting.append(run)
        elif row is not None and not row.same_as:
            done[row.run.pace].append(row.wall_seconds)
        copied += row is None and same is not None
        known = f" (will be the same as {same}, not trained again)" if same is not None else known
        if row is not None:
            known = f" (done, the same as {printable(row.same_as)})" if row.same_as else " (done)"
        finished += row is not None
        print(f"{run}{known}\n  {folder}\n  {shlex.join(command)}")
        if run.kind == LINE:
            print("  which trains nothing: it scores the networks on the line between the copies")
        elif training is not None:
            print(f"  which runs: {training(run)}")
    describe: Callable[[], str] | None = getattr(executor, "description", None)
    if describe is not None and describe():
        print(describe())
    line = f"{counted(finished + copied + len(gone) + len(waiting), 'run')}, {finished} done, {len(waiting)} to do"
    line += f", {copied} to copy" if copied else ""
    line += f", {len(gone)} not run: {AT_FLOOR}" if gone else ""
    left, source = seconds_left(waiting, done, jobs, experiment.searches), "as long as the runs that are done"
    if left is None and waiting and seconds is not None:
        first = {DENSE: [seconds]}
        left, source = seconds_left(waiting, first, jobs, experiment.searches), "at most, at the measured speed"
    if left is not None:
        line += f": about {duration(left)} with {jobs} at a time ({source})"
    print("\n".join([line, *saved_lines(experiment, read_searches(experiment.out, experiment), gone)]))
