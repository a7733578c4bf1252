"""What the commands of the core and of every plugin share: the parser, the exit status, the run of an experiment."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from lottery_core.errors import LotteryError
from lottery_core.experiments import Executor, Experiment, Framework, Progress, Runner, commands
from lottery_core.files import printable
from lottery_core.reports import report

_LONGEST = 2000  # characters of an error, parts of which may come from anybody's file


class Parser(argparse.ArgumentParser):
    """An argument parser that answers bad input with one line, and where the help is, instead of the whole usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def run_command(command: Callable[[], int | None], program: str) -> int:
    """Run ``command`` and turn what can go wrong into one line and an exit status.

    :param command: returns an exit status, or ``None`` for 0
    :param program: the name that the line begins with
    :returns: 0; 2 for bad input; 1 for a failed training run; 130 after Ctrl-C, 143 after SIGTERM
    """

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt(number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        return command() or 0
    except KeyboardInterrupt as interrupt:
        print(f"{program}: stopped; rerun the same command to resume", file=sys.stderr)
        return 143 if interrupt.args == (signal.SIGTERM,) else 130
    except BrokenPipeError:
        # The reader of the output has gone (lottery inspect ... | head), which is no error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (LotteryError, OSError) as error:
        print(f"{program}: error: {printable(error, _LONGEST)}", file=sys.stderr)
        return error.status if isinstance(error, LotteryError) else LotteryError.status
    finally:
        signal.signal(signal.SIGTERM, before)


def run_experiment(
    experiment: Experiment, framework: Framework, executor: Executor, dry_run: bool = False, quiet: bool = False
) -> None:
    """Do the runs of an experiment, then print its table and draw its picture.

    :param experiment: the configuration
    :param framework: the plugin's framework
    :param executor: where trainings run
    :param dry_run: print each run, its folder and its command instead; writes nothing
    :param quiet: show no progress
    :raises LotteryError: see :meth:`lottery_core.experiments.Runner.run`
    """
    if dry_run:
        for run, folder, command in commands(experiment, framework):
            print(f"{run}\n  {folder}\n  {shlex.join(command)}")
        return
    Runner(experiment, framework, executor, Progress(quiet=quiet)).run()
    report([experiment.out])
