"""The graph of an experiment's runs: which there are, what each one needs, what they cost, and where a kind may end."""

from lottery_core.experiments.graph.cost import Cost, cost_of
from lottery_core.experiments.graph.floor import BOUND, FloorStop, Level, at_floor, ends_after
from lottery_core.experiments.graph.plan import (
    FRESH_APART,
    MOST_SEEDS,
    SEEDINGS,
    SHARED,
    Run,
    alike,
    dense,
    needs,
    plan_runs,
    pruned_run,
    trainings,
    with_winning,
)

__all__ = [
    "BOUND",
    "Cost",
    "FRESH_APART",
    "FloorStop",
    "Level",
    "MOST_SEEDS",
    "Run",
    "SEEDINGS",
    "SHARED",
    "alike",
    "at_floor",
    "cost_of",
    "dense",
    "ends_after",
    "needs",
    "plan_runs",
    "pruned_run",
    "trainings",
    "with_winning",
]
