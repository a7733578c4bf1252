"""Reports of an experiment: tables, the picture, statistics over seeds, and the state of its runs."""

from lottery_core.reports.plot import plot
from lottery_core.reports.report import report, tables
from lottery_core.reports.status import render, states
from lottery_core.reports.table import table

__all__ = ["plot", "render", "report", "states", "table", "tables"]
