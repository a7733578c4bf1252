"""The cost of a graph of runs: the work of all of them, and the longest way through it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lottery_core.experiments.graph.plan import Run


@dataclass(frozen=True)
class Cost:
    """The cost of an experiment, in full trainings.

    :param total: all runs together
    :param critical: the longest chain of runs, each of which needs the one before; no number of jobs is faster
    :param runs: number of runs
    """

    total: float
    critical: float
    runs: int


def cost_of(plan: Iterable[Run], needs: Callable[[Run], Iterable[Run]], share: Callable[[Run], float]) -> Cost:
    """Return the cost of the runs of a plan.

    :param plan: the runs, each after those that it needs
    :param needs: returns the runs that must be done before a run can start
    :param share: returns the share of a full training that a run takes
    """
    ends: dict[Run, float] = {}
    total = 0.0
    for run in plan:
        own = share(run)
        total += own
        ends[run] = own + max((ends.get(other, 0.0) for other in needs(run)), default=0.0)
    return Cost(total, max(ends.values(), default=0.0), len(ends))
