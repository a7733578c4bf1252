"""What an experiment says: tables, the picture, statistics over seeds, the state of its runs."""

from lottery_core.reports.plot import plot
from lottery_core.reports.report import report, tables
from lottery_core.reports.status import DONE, FAILED_, RUNNING, STOPPED, State, render, states
from lottery_core.reports.steps import steps_lines
from lottery_core.reports.table import evaluated, table

__all__ = [
    "DONE",
    "FAILED_",
    "RUNNING",
    "STOPPED",
    "State",
    "evaluated",
    "plot",
    "render",
    "report",
    "states",
    "steps_lines",
    "table",
    "tables",
]
