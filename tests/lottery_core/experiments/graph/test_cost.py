"""The cost of a graph: the sum of its runs, and the longest way through it."""

import pytest

from lottery_core.experiments.graph import Run, cost_of, needs, plan_runs


def full(run: Run) -> float:
    return 1.0


def third(run: Run) -> float:
    return 1 / 3 if run.search else 1.0


def test_a_plain_chain_is_as_long_as_its_rounds() -> None:
    cost = cost_of(plan_runs(["winning", "random"], [1, 2], 20), needs, full)
    assert (cost.total, cost.critical, cost.runs) == (2 * 41, 21, 82)


def test_twenty_rounds_at_a_third_each_take_eight_trainings_one_after_the_other() -> None:
    scored = (3, 7, 10, 13, 20)
    plan = plan_runs(["winning", "random"], [1], 20, scored=scored, searches=True)
    cost = cost_of(plan, lambda run: needs(run, True), third)
    assert cost.critical == pytest.approx(1 + 19 / 3 + 1)
    assert cost.total == pytest.approx(1 + 19 / 3 + 2 * 5)
    assert cost.total / 41 < 0.43


def test_nothing_costs_nothing() -> None:
    assert cost_of([], needs, full).critical == 0
