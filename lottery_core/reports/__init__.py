"""Reports on experiments: answers, tables, pictures, pages, statistics over seeds, and the state of runs."""

from lottery_core.reports.answer import (
    EFFECT,
    Answer,
    Margin,
    Question,
    answer,
    once,
    parse_effect,
    parse_margin,
    question_of,
    sentences,
    statements,
)
from lottery_core.reports.plot import plot
from lottery_core.reports.report import report, tables
from lottery_core.reports.source import Asked, Source, is_file, of_rows, source_of
from lottery_core.reports.status import DONE, FAILED_, RUNNING, STOPPED, State, render, states
from lottery_core.reports.steps import steps_lines
from lottery_core.reports.table import evaluated, table

__all__ = [
    "DONE",
    "EFFECT",
    "FAILED_",
    "RUNNING",
    "STOPPED",
    "Answer",
    "Asked",
    "Margin",
    "Question",
    "Source",
    "State",
    "answer",
    "evaluated",
    "is_file",
    "of_rows",
    "once",
    "parse_effect",
    "parse_margin",
    "plot",
    "question_of",
    "render",
    "report",
    "sentences",
    "source_of",
    "statements",
    "states",
    "steps_lines",
    "table",
    "tables",
]
