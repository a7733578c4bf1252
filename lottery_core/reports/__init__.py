"""What an experiment says: tables, the picture, statistics over seeds, the state of its runs."""

from lottery_core.reports.plot import plot
from lottery_core.reports.report import report, setting_notes
from lottery_core.reports.status import render, states
from lottery_core.reports.steps import steps_lines
from lottery_core.reports.table import evaluated, table

__all__ = ["evaluated", "plot", "render", "report", "setting_notes", "states", "steps_lines", "table"]
