"""The configuration of an experiment: its settings and file, tickets from elsewhere, a probe."""

from lottery_core.experiments.configuration.budget import (
    as_kept,
    asked_for,
    check_same_choice,
    choice_of,
    has_tickets,
    kept_line,
    read_budget,
    with_choice,
)
from lottery_core.experiments.configuration.experiment import Experiment
from lottery_core.experiments.configuration.levels import check_levels
from lottery_core.experiments.configuration.probe import (
    POINTS,
    STEPS,
    THRESHOLD,
    Line,
    Probe,
    between,
    coinciding,
    mean_barrier,
    parse_points,
    score_line,
    set_values,
)
from lottery_core.experiments.configuration.stored import read_row
from lottery_core.experiments.configuration.transfer import TicketSource

__all__ = [
    "Experiment",
    "Line",
    "POINTS",
    "Probe",
    "STEPS",
    "THRESHOLD",
    "between",
    "coinciding",
    "mean_barrier",
    "parse_points",
    "score_line",
    "set_values",
    "read_row",
    "TicketSource",
    "as_kept",
    "asked_for",
    "check_levels",
    "check_same_choice",
    "choice_of",
    "has_tickets",
    "kept_line",
    "read_budget",
    "with_choice",
]
