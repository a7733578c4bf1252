"""The answer of an experiment: how small, and mask, start or luck; pure functions over rows, without files or plots."""

from lottery_core.reports.answer.answer import Answer, answer, check_one_experiment
from lottery_core.reports.answer.curves import best_draws, by_size, number, once, percent, place
from lottery_core.reports.answer.given import trained_before
from lottery_core.reports.answer.not_run import filled, measured, not_run_line
from lottery_core.reports.answer.question import (
    EFFECT,
    SCORE,
    Margin,
    Question,
    parse_effect,
    parse_margin,
    question_of,
)
from lottery_core.reports.answer.scale import MEASURED
from lottery_core.reports.answer.sentences import sentences, statements
from lottery_core.reports.answer.significance import Interval, t_interval
from lottery_core.reports.answer.thresholds import FIRST, LAST, Threshold

__all__ = [
    "Answer",
    "EFFECT",
    "FIRST",
    "Interval",
    "LAST",
    "MEASURED",
    "Margin",
    "Question",
    "SCORE",
    "Threshold",
    "answer",
    "check_one_experiment",
    "filled",
    "measured",
    "not_run_line",
    "number",
    "best_draws",
    "by_size",
    "once",
    "parse_effect",
    "parse_margin",
    "percent",
    "place",
    "question_of",
    "sentences",
    "statements",
    "t_interval",
    "trained_before",
]
