"""lottery_core.reports."""

from lottery_core.reports.report import report
from lottery_core.reports.status import render, states
from lottery_core.reports.table import plot, table

__all__ = ["plot", "render", "report", "states", "table"]
