"""What an experiment says: its answer, tables, the picture, statistics over seeds, the state of its runs."""

from lottery_core.reports.answer import (
    EFFECT,
    Answer,
    Margin,
    Question,
    answer,
    parse_effect,
    parse_margin,
    question_of,
    sentences,
)
from lottery_core.reports.plot import plot
from lottery_core.reports.report import report, tables
from lottery_core.reports.source import Asked, Source, source_of
from lottery_core.reports.status import render, states
from lottery_core.reports.table import table

__all__ = [
    "EFFECT",
    "Answer",
    "Asked",
    "Margin",
    "Question",
    "Source",
    "answer",
    "parse_effect",
    "parse_margin",
    "plot",
    "question_of",
    "render",
    "report",
    "sentences",
    "source_of",
    "states",
    "table",
    "tables",
]
