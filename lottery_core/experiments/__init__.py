"""Experiments: their runs, and how these are trained, resumed and recorded."""

from lottery_core.experiments import paths
from lottery_core.experiments.experiment import Experiment, read_row
from lottery_core.experiments.next_ticket import make_control
from lottery_core.experiments.plan import FRESH_APART, MOST_SEEDS, SHARED, Run, dense, needs
from lottery_core.experiments.progress import Progress, duration, percents, seconds_left, took
from lottery_core.experiments.protocols import Executor, FinishedInProcess, Framework
from lottery_core.experiments.results import (
    Row,
    Score,
    read_csv,
    read_marker,
    read_rows,
    read_score,
    write_csv,
    write_floor,
    write_score,
)
from lottery_core.experiments.runner import Runner, commands
from lottery_core.pruning import (
    AFTER_REWIND,
    FULL,
    KEPT,
    LEARNING_RATE,
    NOTHING,
    REMAINING,
    Point,
    parse_point,
)

__all__ = [
    "AFTER_REWIND",
    "FULL",
    "REMAINING",
    "FinishedInProcess",
    "Executor",
    "Experiment",
    "FRESH_APART",
    "Framework",
    "KEPT",
    "LEARNING_RATE",
    "MOST_SEEDS",
    "NOTHING",
    "Point",
    "Progress",
    "Row",
    "Run",
    "Runner",
    "SHARED",
    "Score",
    "commands",
    "dense",
    "duration",
    "make_control",
    "needs",
    "parse_point",
    "paths",
    "percents",
    "read_csv",
    "read_marker",
    "read_row",
    "read_rows",
    "read_score",
    "seconds_left",
    "took",
    "write_csv",
    "write_floor",
    "write_score",
]
