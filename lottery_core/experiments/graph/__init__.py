"""The graph of an experiment's runs: which there are, what each needs and costs, where a kind may end; their files."""

from lottery_core.experiments.graph import paths
from lottery_core.experiments.graph.cost import Cost, cost_of
from lottery_core.experiments.graph.floor import (
    BOUND,
    FloorStop,
    Level,
    at_floor,
    check_levels_at_floor,
    ends_after,
    with_needs,
)
from lottery_core.experiments.graph.plan import (
    COPY,
    FRESH_APART,
    LINE,
    MOST_SEEDS,
    SEEDINGS,
    SHARED,
    Run,
    alike,
    check_seeds,
    dense,
    needs,
    plan_runs,
    pruned_run,
    trainings,
    with_winning,
)
from lottery_core.experiments.graph.probe import copies, plan_probe, point_folder, probe_needs, start_folder

__all__ = [
    "BOUND",
    "COPY",
    "LINE",
    "copies",
    "paths",
    "plan_probe",
    "point_folder",
    "probe_needs",
    "start_folder",
    "Cost",
    "FRESH_APART",
    "FloorStop",
    "with_needs",
    "Level",
    "MOST_SEEDS",
    "Run",
    "SEEDINGS",
    "SHARED",
    "alike",
    "at_floor",
    "check_levels_at_floor",
    "check_seeds",
    "cost_of",
    "dense",
    "ends_after",
    "needs",
    "plan_runs",
    "pruned_run",
    "trainings",
    "with_winning",
]
