"""Intervals and tests, against scipy's and known numbers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lottery_core.reports.answer.significance import (
    holm,
    max_t,
    sign_flip_p,
    smallest_p,
    t_interval,
    welch_interval,
    welch_p,
)

PAIRS = ([0.3, 0.1, 0.5, -0.2, 0.4, 0.25], [1.0, 2.0, 0.5, 0.75, 3.0], [-1.0, -2.0, 0.1, 0.2, 0.3, 0.4, -0.3])


@pytest.mark.parametrize("values", PAIRS)
def test_sign_flips_are_those_of_scipy(values: list[float]) -> None:
    theirs = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", alternative="greater", n_resamples=np.inf, vectorized=False
    )
    assert sign_flip_p(values) == pytest.approx(theirs.pvalue)


def test_what_few_seeds_can_do() -> None:
    """A sign flip of n pairs cannot go below 2^-n, however large the differences are."""
    assert (
        [sign_flip_p([5.0] * count) for count in (3, 5, 7)]
        == [0.125, 1 / 32, 1 / 128]
        == [smallest_p(count) for count in (3, 5, 7)]
    )
    assert sign_flip_p([0.0] * 5) == 1.0  # ties
    assert sign_flip_p([1.0, 1.0, 1.0, 1.0, -1.0]) == 6 / 32
    assert sign_flip_p([1.0] * 20) < 0.001


def test_intervals_are_those_of_scipy() -> None:
    values, others = [199.0, 140.0, 30.0, 75.0], [20.0, 22.0, 150.0]
    found = t_interval(values)
    theirs = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert (found.low, found.high) == pytest.approx(theirs)
    welch = welch_interval(values, others)
    theirs = stats.ttest_ind(values, others, equal_var=False).confidence_interval(0.95)
    assert (welch.low, welch.high) == pytest.approx((theirs.low, theirs.high))
    assert welch_p(values, others) == pytest.approx(
        stats.ttest_ind(values, others, equal_var=False, alternative="greater").pvalue
    )
    assert (t_interval([3.0]).low, welch_interval([3.0], [1.0, 2.0]).high) == (None, None)


def test_seeds_without_spread_claim_no_certainty() -> None:
    """Neither an interval of zero width, nor a p value below that of a permutation test of so many seeds."""
    assert welch_interval([2.0, 2.0], [1.0, 1.0]).low is None
    assert welch_p([2.0] * 5, [1.0] * 5) == 1 / 252
    assert welch_p([2.0] * 4 + [2.001], [1.0] * 5) == 1 / 252
    assert (welch_p([1.0] * 5, [1.0] * 5), welch_p([1.0] * 5, [2.0] * 5)) == (1.0, 1.0)


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_max_t_of_one_level_is_the_sign_flip_and_of_several_is_stricter() -> None:
    rng = np.random.default_rng(3)
    differences = rng.standard_normal((7, 1)) + 0.8
    assert max_t(differences.tolist()) == pytest.approx([sign_flip_p(differences[:, 0].tolist())])
    several = np.hstack([differences, rng.standard_normal((7, 5))])
    assert max_t(several.tolist())[0] >= max_t(differences.tolist())[0]
    assert max_t(np.zeros((6, 3)).tolist()) == [1.0] * 3
    same = np.repeat(differences, 4, axis=1)  # levels that say the same cost nothing
    assert max_t(same.tolist()) == pytest.approx(max_t(differences.tolist()) * 4)


def test_max_t_keeps_its_level_over_levels_that_hang_together() -> None:
    rng = np.random.default_rng(0)
    wrong = sum(
        min(max_t((rng.standard_normal((6, 1)) + rng.standard_normal((6, 8))).tolist())) <= 0.05 for _ in range(400)
    )
    assert wrong / 400 <= 0.08
