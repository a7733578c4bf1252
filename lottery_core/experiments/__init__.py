"""lottery_core.experiments."""

from lottery_core.experiments.experiment import Experiment, read_row
from lottery_core.experiments.next_ticket import make_control
from lottery_core.experiments.paths import (
    CURVE,
    FAILED,
    INIT,
    JOB,
    JOB_END,
    LOG,
    MARKER,
    PROGRESS,
    REWIND,
    STARTED,
    TICKET,
)
from lottery_core.experiments.plan import Run, dense, needs
from lottery_core.experiments.progress import Progress, duration, percents, seconds_left
from lottery_core.experiments.protocols import Done, Executor, Framework
from lottery_core.experiments.results import Row, Score, read_marker, read_rows, read_score, write_csv, write_score
from lottery_core.experiments.runner import Runner, commands
from lottery_core.experiments.timepoints import KEPT, LEARNING_RATE, NOTHING, Point, parse_point

__all__ = [
    "CURVE",
    "Done",
    "Executor",
    "Experiment",
    "FAILED",
    "Framework",
    "INIT",
    "JOB",
    "JOB_END",
    "KEPT",
    "LEARNING_RATE",
    "LOG",
    "MARKER",
    "NOTHING",
    "PROGRESS",
    "Point",
    "Progress",
    "REWIND",
    "Row",
    "Run",
    "Runner",
    "STARTED",
    "Score",
    "TICKET",
    "commands",
    "dense",
    "duration",
    "make_control",
    "needs",
    "parse_point",
    "percents",
    "read_marker",
    "read_row",
    "read_rows",
    "read_score",
    "seconds_left",
    "write_csv",
    "write_score",
]
