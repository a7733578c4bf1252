"""A small part of ``tests/benchmarks/answer_simulation.py``, with limits that its noise allows."""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks import answer_simulation as simulation


@pytest.mark.parametrize("world", simulation.WORLDS)
def test_intervals_cover_tests_keep_their_level_and_plans_their_power(world: str) -> None:
    rng = np.random.default_rng(5)
    assert simulation.coverage_of_sizes(world, 0.2, 5, 200, rng) >= 0.9
    assert simulation.coverage_of_areas(world, 5, 200, rng) >= 0.88
    assert max(simulation.false_positives(world, 5, 60, rng)) <= 0.12
    assert simulation.power_reached(world, 5, 150, rng)[1] == pytest.approx(0.8, abs=0.12)


def test_the_reading_of_a_threshold_is_the_best_of_those_tried() -> None:
    """Under dips, the first level outside and an isotonic fit are wrong by more than a halving."""
    found = simulation.bias_of_readings("bimodal", 0.2, 1500, np.random.default_rng(6))
    ours = found.pop("the cheapest split (ours)")
    assert ours[1] < min(error for _, error in found.values()) + 0.02
    assert abs(ours[0]) < 0.1
    assert found["an isotonic fit by seed"][0] < -1
