"""Experiments: their runs, and how these are trained, resumed and recorded."""

from lottery_core.experiments import paths
from lottery_core.experiments.experiment import Experiment, read_row
from lottery_core.experiments.graph import BOUND, FRESH_APART, MOST_SEEDS, SHARED, Cost, Run, cost_of, dense, plan_runs
from lottery_core.experiments.next_ticket import make_control, mask_watch, prune_in_training
from lottery_core.experiments.progress import Progress, duration, outcome, percents, seconds_left, took
from lottery_core.experiments.protocols import Executor, FinishedInProcess, Framework
from lottery_core.experiments.results import (
    Row,
    Score,
    floor_scoring,
    read_csv,
    read_floor,
    read_marker,
    read_rows,
    read_score,
    read_searches,
    write_csv,
    write_floor,
    write_score,
)
from lottery_core.experiments.runner import Runner, commands
from lottery_core.experiments.transfer import TicketSource
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
    "BOUND",
    "Cost",
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
    "TicketSource",
    "commands",
    "cost_of",
    "dense",
    "duration",
    "floor_scoring",
    "make_control",
    "mask_watch",
    "parse_point",
    "prune_in_training",
    "paths",
    "outcome",
    "percents",
    "plan_runs",
    "read_csv",
    "read_floor",
    "read_marker",
    "read_row",
    "read_rows",
    "read_score",
    "read_searches",
    "seconds_left",
    "took",
    "write_csv",
    "write_floor",
    "write_score",
]
