"""Reports on experiments: answers, tables, pictures, pages, statistics over seeds, and the state of runs."""

from lottery_core.reports.answer import (
    EFFECT,
    Answer,
    Margin,
    Question,
    answer,
    by_size,
    filled,
    measured,
    not_run_line,
    once,
    parse_effect,
    parse_margin,
    question_of,
    sentences,
    statements,
)
from lottery_core.reports.costs import cost_lines, search_cost, steps_lines
from lottery_core.reports.plot import plot
from lottery_core.reports.report import refuse_probes, report, tables
from lottery_core.reports.saved import costs, length, looks_of, saved_lines, threshold_line
from lottery_core.reports.source import Asked, Source, is_file, of_rows, source_of
from lottery_core.reports.stability import PointStability, Stability, check_threshold, stability, stability_report
from lottery_core.reports.status import DONE, FAILED_, LEFT_OUT, RUNNING, STOPPED, State, render, states
from lottery_core.reports.table import evaluated, table

__all__ = [
    "by_size",
    "DONE",
    "EFFECT",
    "FAILED_",
    "LEFT_OUT",
    "RUNNING",
    "STOPPED",
    "Answer",
    "Asked",
    "Margin",
    "Question",
    "PointStability",
    "Source",
    "Stability",
    "check_threshold",
    "stability",
    "stability_report",
    "State",
    "answer",
    "costs",
    "evaluated",
    "filled",
    "is_file",
    "of_rows",
    "length",
    "looks_of",
    "measured",
    "not_run_line",
    "once",
    "parse_effect",
    "parse_margin",
    "plot",
    "question_of",
    "refuse_probes",
    "render",
    "report",
    "saved_lines",
    "sentences",
    "source_of",
    "statements",
    "states",
    "cost_lines",
    "search_cost",
    "steps_lines",
    "table",
    "tables",
    "threshold_line",
]
